"""Oscillators: discretized differential equations whose solutions neither decay nor explode."""

from __future__ import annotations

from ..cell import Cell

STABLE = "Chang, Chen, Haber, Chi 2019, AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks, ICLR, arXiv:1902.09689"
STEP_AND_DIFFUSION = {"eps": 0.1, "gamma": 0.1}

cornn = Cell(
    """
    z = z_prev + dt * (tanh(W @ y_prev + Wz @ z_prev + V @ x + b) - gamma * y_prev - eps * z_prev)
    y = y_prev + dt * z
    """,
    name="cornn",
    output="y",
    title="Coupled oscillatory recurrent network",
    reference="Rusch, Mishra 2021, Coupled Oscillatory Recurrent Neural Network, ICLR, arXiv:2010.00951",
    description=(
        "Each unit is a driven, damped oscillator with position y and velocity z; γ is its frequency squared, ε its damping, and the "
        "units are coupled through the drive. One step of length Δt moves the velocity first, then the position by the new velocity. "
        "The damping takes the old velocity, as in the authors' code. The letters are the paper's: W for the state, V for the input."
    ),
    constants={"dt": 0.1, "gamma": 1, "eps": 1},
    latex={"dt": r"\Delta t", "eps": r"\epsilon", "Wz": r"\mathcal{W}"},
)

antisymmetric = Cell(
    "h = h_prev + eps * tanh((W - W.T - gamma * eye) @ h_prev + V @ x + b)",
    name="antisymmetric",
    output="h",
    title="Antisymmetric recurrent network",
    reference=STABLE,
    description=(
        "One Euler step of length ε of a differential equation whose matrix W - Wᵀ is antisymmetric. Its eigenvalues are imaginary, so "
        "the matrix by itself neither damps nor amplifies the state. The diffusion γ moves them slightly to the left, which makes up for "
        "the error of Euler's method. The gradient with respect to W is antisymmetric too. The letters are the paper's: W for the state, "
        "V for the input."
    ),
    constants=STEP_AND_DIFFUSION,
    latex={"eps": r"\epsilon"},
)

antisymmetric_gated = Cell(
    """
    a = (W - W.T - gamma * eye) @ h_prev
    z = sigmoid(a + V_z @ x + b_z)
    h = h_prev + eps * z * tanh(a + V_h @ x + b_h)
    """,
    name="antisymmetric_gated",
    output="h",
    title="Antisymmetric recurrent network with input gate",
    reference=STABLE,
    description=(
        "The antisymmetric network with a gate z on its step, which shares the recurrent product a with the candidate. The two cost one "
        "recurrent matrix between them, which is meant to keep the eigenvalues of the differential equation near the imaginary axis. The "
        "letters are the paper's: W for the state, V for the input."
    ),
    constants=STEP_AND_DIFFUSION,
    latex={"eps": r"\epsilon"},
)

CELLS = (cornn, antisymmetric, antisymmetric_gated)
