import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

JUDGING = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("stats", "records", "judging", "report", "config")
    for path in (ROOT / "vqbench" / room).rglob("*.py")
    if path.name != "__init__.py"
)


def test_judging_imports_neither_torch_nor_scipy():
    script = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in ("torch", "scipy", "soundfile"))
    script += "".join(f"import {module}\n" for module in JUDGING)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
