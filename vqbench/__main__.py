"""`python -m vqbench` is `vqbench`."""

from vqbench.entry import main

if __name__ == "__main__":
    main()
