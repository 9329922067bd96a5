"""Signals that networks are tried on: something like speech at 16 kHz, and like an EEG at 250 Hz."""

from __future__ import annotations

import itertools

import numpy as np

Shape = tuple[int, ...]


def speech(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """Harmonics of a pitch under three formants, in noise; each third input is noise alone."""
    samples = np.prod(shape)
    time = np.arange(samples) / 16000
    pitch, formants = random.uniform(90, 240), random.uniform((300, 900, 2200), (800, 2000, 3000))
    wave = 0.01 * random.standard_normal(samples)
    if i % 3 != 2:
        for harmonic in np.arange(1, 25) * pitch:
            loudness = np.exp(-(((harmonic - formants) / 150) ** 2)).sum() + 0.03
            wave += 0.1 * loudness * np.sin(2 * np.pi * (harmonic * time + random.uniform()))
    return wave.reshape(shape)


def loudness(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """Of speech in bands from low to high, (.., steps, bands, 1): a tenth of its decibels, and 2."""
    steps, bands = shape[1:3]
    wave = speech(i, (160 * steps + 400,), random)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160][:steps] * np.hanning(400)
    power = np.abs(np.fft.rfft(windows)) ** 2
    edges = np.geomspace(2, power.shape[1], bands + 1).astype(int)
    summed = [power[:, low : max(low + 1, high)].sum(axis=1) for low, high in itertools.pairwise(edges)]
    return np.broadcast_to(np.log10(np.stack(summed, axis=1) + 1e-10)[..., None] + 2, shape)


def brain_waves(_i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """Noise that is louder the lower it is, with some bursts of 11 to 16 Hz that last about a second."""
    (samples,) = shape[2:]
    time, frequencies = np.arange(samples) / _RATE, np.fft.rfftfreq(samples, 1 / _RATE)
    noise = np.fft.rfft(random.standard_normal(samples)) / np.maximum(frequencies, 0.5)
    wave = np.fft.irfft(noise, samples)
    wave /= wave.std()
    for start in random.uniform(1, time[-1], 6):
        burst = np.exp(-(((time - start) / random.uniform(0.3, 0.6)) ** 2))
        wave += random.uniform(0.5, 1.5) * burst * np.sin(2 * np.pi * random.uniform(11, 16) * time)
    return np.broadcast_to(_standard(wave), shape)


def bands(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """How loud the same brain waves are around some frequencies from 24 Hz down to 12, (.., bands, samples)."""
    count, samples = shape[1:]
    spectrum = np.fft.fft(brain_waves(i, (1, 1, samples), random)[0, 0])
    frequencies = np.fft.fftfreq(samples, 1 / _RATE)
    centers = _RATE * 13 / np.geomspace(135, 270, count)
    near = np.abs(frequencies - centers[:, None]) < centers[:, None] * 3 / 13  # and so no negative ones
    return np.broadcast_to(_standard(np.abs(np.fft.ifft(spectrum * near))), shape)


def state(_i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """What a recurrent network may have kept."""
    return 0.3 * random.standard_normal(shape)


def _standard(values: np.ndarray) -> np.ndarray:
    """Each row with mean 0 and standard deviation 1."""
    return (values - values.mean(axis=-1, keepdims=True)) / values.std(axis=-1, keepdims=True)


_RATE = 250.0
