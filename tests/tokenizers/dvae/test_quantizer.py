"""Nearest codes, the moving codebook, dead codes, k-means: against plain versions and hand-worked cases."""

from __future__ import annotations

import torch

from vqbench.tokenizers.dvae.quantizer import Quantizer, kmeans


def test_nearest_is_euclidean() -> None:
    torch.manual_seed(1)
    quantizer = Quantizer(8, 100)
    rows = torch.randn(5000, 8)
    distances = torch.cdist(rows.double(), quantizer.embed.t().double())
    assert torch.equal(quantizer.nearest(rows), distances.argmin(1))


def test_a_code_is_its_own_nearest_and_ties_go_to_the_smaller() -> None:
    quantizer = Quantizer(4, 6)
    quantizer.embed[:, 5] = quantizer.embed[:, 2]
    assert quantizer.nearest(quantizer.embed.t()).tolist() == [0, 1, 2, 3, 4, 2]


def test_autocast_flips_no_code() -> None:
    torch.manual_seed(2)
    quantizer = Quantizer(64, 512)
    rows = torch.randn(2000, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer.nearest(rows), torch.cdist(rows, quantizer.embed.t()).argmin(1))


def test_ema_update_by_hand() -> None:
    quantizer = Quantizer(1, 2)
    quantizer.set_codes(torch.tensor([[0.0], [10.0]]), count=1.0)
    quantizer.ema_update(torch.tensor([[2.0], [4.0], [10.0]]), torch.tensor([0, 0, 1]), decay=0.5, eps=0.0)
    # counts: 0.5 * 1 + 0.5 * (2, 1); sums: 0.5 * (0, 10) + 0.5 * (6, 10)
    torch.testing.assert_close(quantizer.cluster_size, torch.tensor([1.5, 1.0]))
    torch.testing.assert_close(quantizer.embed, torch.tensor([[2.0, 10.0]]))


def test_ema_converges_to_the_means() -> None:
    torch.manual_seed(3)
    quantizer = Quantizer(2, 2)
    quantizer.set_codes(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), count=1.0)
    rows = torch.cat([torch.randn(200, 2) - 5, torch.randn(300, 2) + 5])
    for _ in range(400):
        quantizer.ema_update(rows, quantizer.nearest(rows), decay=0.9)
    torch.testing.assert_close(
        quantizer.embed.t(), torch.stack([rows[:200].mean(0), rows[200:].mean(0)]), atol=1e-3, rtol=0
    )


def test_dead_codes_restart_on_latents_and_living_ones_stay() -> None:
    quantizer = Quantizer(3, 4)
    quantizer.set_codes(torch.eye(4)[:, :3], count=1.0)
    quantizer.cluster_size.copy_(torch.tensor([2.0, 0.001, 2.0, 0.0]))
    before = quantizer.embed.clone()
    rows = torch.randn(10, 3)
    assert quantizer.restart_dead(rows, 0.05, torch.Generator().manual_seed(0)) == 2
    assert torch.equal(quantizer.embed[:, [0, 2]], before[:, [0, 2]])
    for code in (1, 3):
        assert any(torch.equal(quantizer.embed[:, code], row) for row in rows)
    assert quantizer.restart_dead(rows, 0.05, torch.Generator().manual_seed(0)) == 0


def test_kmeans_finds_separate_clusters() -> None:
    torch.manual_seed(4)
    truth = torch.tensor([[-9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    points = truth.repeat_interleave(100, 0) + 0.1 * torch.randn(300, 2)
    errors = []
    for seed in range(10):
        centres = kmeans(points, 3, 20, torch.Generator().manual_seed(seed))
        errors.append(torch.cdist(truth, centres).min(1).values.max().item())
    assert min(errors) < 0.1


def test_kmeans_of_fewer_points_than_codes() -> None:
    centres = kmeans(torch.tensor([[0.0], [1.0]]), 5, 3, torch.Generator().manual_seed(0))
    assert centres.shape == (5, 1)
    assert len(centres.unique()) == 5
