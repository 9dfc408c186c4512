"""Spiking neurons: a potential that leaks, a spike where it passes a threshold, and a derivative that is put for that of the spike."""

from __future__ import annotations

from .. import surrogates
from ..cell import Cell

SNNTORCH = "Eshraghian et al. 2021, Training Spiking Neural Networks Using Lessons From Deep Learning, arXiv:2109.12894"
LSNN = "Bellec et al. 2018, Long short-term memory and learning-to-learn in networks of spiking neurons, NeurIPS, arXiv:1803.09574"
ARCTAN = {"spike(u)": surrogates.arctan(2)}
DECAY = {"beta": 0.9}

lif = Cell(
    """
    u = beta * u_prev + W @ x + b - theta * detach(spike(u_prev - theta))
    s = spike(u - theta)
    """,
    name="lif",
    output="s",
    title="Leaky integrate-and-fire neurons",
    reference=f"{SNNTORCH}; arctangent surrogate: Fang et al. 2021, ICCV, arXiv:2007.05785",
    description=(
        "A potential u leaks by the factor β and takes in the weighted input; above the threshold θ the neuron spikes, and the threshold "
        "is subtracted at the next step. The spike is a step function, whose derivative is zero; the derivative of an arctangent is used "
        "in its place. What is subtracted is detached, so the cotangent of u is multiplied by β alone at each step back: the backward "
        "recursion is diagonal and linear."
    ),
    constants={"theta": 1.0},
    init=DECAY,
    shapes={"beta": "n", "u": "n"},
    functions=ARCTAN,
    latex={"beta": r"\beta", "theta": r"\theta"},
)

lif_no_reset = lif.replace(
    u="beta * u_prev + W @ x + b",
    name="lif_no_reset",
    title="Leaky integrate-and-fire neurons without reset",
    reference=SNNTORCH,
    description=(
        "A leaky potential that its spikes do not reset: a linear filter of the input, read through a step function. Its gradient is "
        "linear too, except for the surrogate between the loss and the filter."
    ),
)

lif_refractory = Cell(
    """
    a = where(r_prev > 0, beta * u_prev, beta * u_prev + W @ x + b)
    s = where(r_prev > 0, 0, spike(a - theta))
    u = (1 - detach(s)) * a
    r = where(s > 0, rest, relu(r_prev - 1))
    """,
    name="lif_refractory",
    output="s",
    title="Leaky integrate-and-fire neurons with a refractory period",
    reference="Gerstner, Kistler, Naud, Paninski 2014, Neuronal Dynamics, Cambridge University Press, section 1.3",
    description=(
        "After a spike the potential is cleared, and for as many steps as the count r says, the neuron leaks but neither takes in the "
        "input nor spikes. Those steps give no gradient with respect to the input and none through the surrogate; the count itself is a "
        "number of steps, and no gradient passes through it."
    ),
    constants={"theta": 1.0, "rest": 2},
    init=DECAY,
    shapes={"beta": "n", "u": "n", "r": "n"},
    functions=ARCTAN,
    latex={"beta": r"\beta", "theta": r"\theta", "rest": r"\tau_r"},
)

rsynaptic = Cell(
    """
    i = alpha * i_prev + W @ x + V @ s_prev + b
    u = beta * u_prev + i - theta * detach(spike(u_prev - theta))
    s = spike(u - theta)
    """,
    name="rsynaptic",
    output="s",
    title="Recurrent spiking neurons with a synaptic current",
    reference=f"{SNNTORCH} (RSynaptic)",
    description=(
        "A second order of leak: the input and the spikes of all neurons drive a current i, which drives the potential u. Spikes feed back "
        "through V, so that gradients go from neuron to neuron through the surrogate at every step."
    ),
    constants={"theta": 1.0},
    init={"alpha": 0.8, "beta": 0.9},
    shapes={"alpha": "n", "beta": "n", "u": "n"},
    functions=ARCTAN,
    latex={"alpha": r"\alpha", "beta": r"\beta", "theta": r"\theta"},
)

plif = Cell(
    """
    a = v_prev + (W @ x + b - v_prev) * sigmoid(w)
    s = spike(a - 1)
    v = (1 - s) * a
    """,
    name="plif",
    output="s",
    title="Leaky integrate-and-fire neurons with a learned time constant",
    reference="Fang, Yu, Chen, Masquelier, Huang, Tian 2021, ICCV, arXiv:2007.05785",
    description=(
        "The leak is learned: σ(w) is one over the membrane's time constant, one number for a layer. The potential is cleared by a spike, "
        "and a gradient goes through that too: the product rule sees the surrogate twice."
    ),
    shapes={"w": "", "v": "n"},
    functions={"spike(u)": surrogates.sigmoid(4)},
)

alif = Cell(
    """
    b = rho * b_prev + (1 - rho) * z_prev
    th = th0 + beta * b
    z = spike((v_prev - th) / th)
    v = alpha * v_prev + (1 - alpha) * (W @ x + V @ z_prev) - th * z_prev
    """,
    name="alif",
    output="z",
    title="Adaptive spiking neurons",
    reference=LSNN,
    description=(
        "A spike raises the neuron's own threshold by β (1 - ρ), and the rise decays by the factor ρ at each step; the cotangent of b is "
        "multiplied by the same ρ on its way back. With ρ very close to 1, b is a memory that outlasts the potential. With the constants "
        "here it does not: ρ = 0.9 is a time constant of 9.5 steps, and α = 0.95, the potential's, one of 19.5. The surrogate is a "
        "triangle, 0.3 high, of the distance to the threshold divided by the threshold."
    ),
    constants={"rho": 0.9, "alpha": 0.95, "beta": 1.6, "th0": 0.5},
    shapes={"b": "n", "v": "n", "z": "n"},
    functions={"spike(u)": surrogates.triangular(0.3)},
    latex={"rho": r"\rho", "alpha": r"\alpha", "beta": r"\beta", "th": r"\vartheta", "th0": r"\vartheta_0"},
)

lsnn = Cell(
    """
    vd = v_prev + dt * tm * (vl - v_prev + i_prev)
    bd = b_prev + dt * ta * (vt - b_prev)
    z = spike(vd - bd)
    v = (1 - detach(z)) * vd + vr * detach(z)
    i = i_prev - dt * ts * i_prev + W @ x + V @ z_prev
    b = bd + beta * detach(z)
    """,
    name="lsnn",
    output="z",
    title="Long short-term spiking neurons, as differential equations",
    reference=f"{LSNN}; as in Norse: Pehle, Pedersen 2021, Zenodo, doi:10.5281/zenodo.4422025; surrogate: Zenke, Ganguli 2018, "
    "arXiv:1705.11146",
    description=(
        "A step of length dt of the equations of potential v, current i and threshold b, each with a rate of its own; a spike clears the "
        "potential and raises the threshold, and is detached in both. Gradients between neurons go through the current. The surrogate is "
        "SuperSpike's fast sigmoid."
    ),
    constants={"dt": 0.001, "tm": 100.0, "ts": 200.0, "ta": 1.25, "vl": 0.0, "vt": 1.0, "vr": 0.0, "beta": 1.8},
    init={"b": 1.0},
    shapes={"v": "n", "i": "n", "b": "n", "z": "n"},
    functions={"spike(u)": surrogates.superspike(100)},
    latex={
        **{"vd": r"\hat{v}", "bd": r"\hat{b}", "dt": r"\Delta t", "beta": r"\beta"},
        **{"tm": r"\tau_m^{-1}", "ts": r"\tau_s^{-1}", "ta": r"\tau_b^{-1}", "vl": r"v_{L}", "vt": r"v_{T}", "vr": r"v_{R}"},
    },
)

eprop_lif = Cell(
    """
    v = alpha * v_prev + W @ x + V @ detach(z_prev) - theta * detach(z_prev)
    z = spike(v - theta)
    """,
    name="eprop_lif",
    output="z",
    title="Spiking neurons whose spikes are detached: e-prop",
    reference=(
        "Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein, Maass 2020, A solution to the learning dilemma for recurrent networks of "
        "spiking neurons, Nature Communications 11:3625, equation 4"
    ),
    description=(
        "A recurrent layer of leaky neurons that treats its own spikes as constants in the gradient. The outputs do not change. In the "
        "gradient the paths from neuron to neuron are cut, and what is left is multiplied by α alone at each step back. The same sum can "
        "then be accumulated forward in time: these are the eligibility traces of e-prop, which need no backward pass."
    ),
    constants={"alpha": 0.9, "theta": 0.6},
    shapes={"v": "n", "z": "n"},
    functions={"spike(u)": surrogates.triangular(0.5, 0.6)},
    latex={"alpha": r"\alpha", "theta": r"\theta"},
)

CELLS = (lif, lif_no_reset, lif_refractory, rsynaptic, plif, alif, lsnn, eprop_lif)
