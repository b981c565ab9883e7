"""`python -m vqbench` is `vqbench`."""

from vqbench.cli import main

if __name__ == "__main__":
    main()
