"""The polynomials of lib/kernels/lanes.h: prints their coefficients and errors in units of 2^-24.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1 mpmath==1.4.1
    venv/bin/python make_polynomials.py

Each minimises the largest weighted error over 1500 Chebyshev points (a linear program), is rounded to float32, and its
error is measured again with the rounded coefficients.
"""
import mpmath as mp
import numpy as np
from scipy.optimize import linprog

mp.mp.dps = 40
POINTS = 1500


def fit(name, f, low, high, degree, weight, constant=None):
    """Prints c of sum c[k] x^k ~ f(x) on [low, high]; constant: c[0] is given."""
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    fx = np.array([float(f(mp.mpf(v))) for v in x])
    w = np.array([float(weight(mp.mpf(v))) for v in x])
    first, scale = (0, max(abs(low), abs(high))) if constant is None else (1, max(abs(low), abs(high)))
    powers = np.stack([(x / scale) ** k for k in range(first, degree + 1)], 1) * w[:, None]
    rest = (fx - (constant or 0)) * w
    bound = -np.ones((POINTS, 1)) / 1e6  # the error in millionths, so that the solver's tolerance is far below it
    solved = linprog(np.r_[np.zeros(degree + 1 - first), 1], A_ub=np.block([[powers, bound], [-powers, bound]]),
                     b_ub=np.r_[rest, -rest], bounds=[(None, None)] * (degree + 1 - first) + [(0, None)],
                     method="highs",
                     options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10})
    c = [np.float32(v / scale**k) for k, v in enumerate(solved.x[:-1], first)]
    c = ([] if constant is None else [np.float32(constant)]) + c
    errors = [abs((mp.polyval([mp.mpf(float(v)) for v in c[::-1]], mp.mpf(v)) - f(mp.mpf(v))) * weight(mp.mpf(v)))
              for v in x[::7]]
    print(f"{name}: error {float(max(errors)) * 2**24:.2f} u: {' '.join('%.9g' % v for v in c)}")


def exp_rest(r):
    return (mp.e**r - 1 - r) / r**2 if r else mp.mpf(1) / 2


def js_near(w):
    a = mp.sqrt(w)
    return ((1 + a) * mp.log(1 + a) + (1 - a) * mp.log(1 - a)) / w if w else mp.mpf(1)


def js_far(z):
    return (2 - z) * mp.log(2 - z)


def js_whole(z):
    return js_far(z) + z * mp.log(z)


def tail(t):
    a = (1 / t - 1) / mp.mpf(0.3125)
    return mp.erfc(a / mp.sqrt(2)) / 2 * mp.e ** (a * a / 2) / t


def tanh_rest(w):
    z = mp.sqrt(w)
    return (mp.tanh(z) / z - 1) / w if w else mp.mpf(-1) / 3


def tanh_weight(w):
    z = mp.sqrt(w)
    return w * z / mp.tanh(z) if w else mp.mpf(0)


half = float(mp.log(2) / 2) * 1.0001  # the reduced argument is rounded
fit("QD_EXP_P2..6", exp_rest, -half, half, 4, lambda r: r * r / mp.e**r)
fit("QD_PHI_0..6", exp_rest, -1, 1, 6, lambda t: 1 / exp_rest(t))
fit("QD_JS_0..5", js_near, 0, 0.25, 5, lambda w: 1 / js_near(w), constant=1.0)
fit("QD_JS_FAR_0..5", js_far, 0, 0.5, 5, lambda z: 1 / js_whole(z))
fit("QD_LOG_1..8", lambda t: mp.log(1 + t) / t, 2**-0.5 - 1, 2**0.5 - 1, 7, lambda t: t)
fit("QD_TAIL_1..10", tail, 1 / (1 + 0.3125 * 13.25), 1.0, 9, lambda t: 1 / tail(t))
fit("QD_TANH_0..4", tanh_rest, 0, 0.625**2, 4, tanh_weight)
