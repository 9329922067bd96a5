"""``python -m eq_tvm``"""

import sys

from eq_tvm.cli import main

if __name__ == "__main__":
    sys.exit(main())
