import subprocess
import sys

JUDGING = (
    *("store", "compare", "gate", "plausibility", "yardstick", "rules", "selection", "summary", "power"),
    *("excerpts", "history", "slices", "conditions"),
)


def test_judging_imports_neither_torch_nor_scipy():
    script = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in ("torch", "scipy", "soundfile"))
    script += "".join(f"import vqbench.results.{module}\n" for module in JUDGING)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
