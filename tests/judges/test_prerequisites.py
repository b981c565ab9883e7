"""What a judge lacks is said before it listens."""

import pytest
import torch

from vqbench.errors import MissingExtraError
from vqbench.judges.prerequisites import import_judge, judge_device


def test_a_missing_package_says_what_brings_it():
    with pytest.raises(MissingExtraError) as caught:
        import_judge("a_package_that_is_not_installed", "speech recognition")
    assert "speech recognition needs the package 'a_package_that_is_not_installed'" in str(caught.value)
    assert "vqbench[bench]" in caught.value.fix


@pytest.mark.parametrize(("asked", "given"), [("cpu", "cpu"), ("mps", "cpu"), ("cuda:1", "cuda:1")])
def test_judges_run_on_cuda_or_else_on_the_cpu(asked, given):
    assert judge_device(asked) == judge_device(torch.device(asked)) == torch.device(given)
