"""Commands in files of their own: compare, deploy, doctor, pack and report."""
