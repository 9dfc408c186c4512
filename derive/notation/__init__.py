"""Mathematics for people: formulas as text and LaTeX, and why each line of a derivation is there."""
