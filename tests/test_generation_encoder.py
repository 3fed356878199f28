"""Profiles as vectors: tokens, missing values and groups that are dropped in training."""

from __future__ import annotations

import pytest
import torch

from connectome_gnn.generation.encoder import PhenotypeEncoder

OWNER = torch.tensor([0, 1, 1, 1, 2, 3])  # phenotype 1 is categorical, with three levels


def encoder(**arguments) -> PhenotypeEncoder:
    torch.manual_seed(0)
    return PhenotypeEncoder(OWNER, 4, width=16, token_width=5, **{"dropout": 0.0, **arguments})


def profiles(n_people: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n_people, 6, generator=draw), torch.zeros(n_people, 4, dtype=torch.bool)


def test_tokens_by_hand_and_columns_of_one_phenotype_share_one():
    model, (values, missing) = encoder(), profiles()
    tokens = model.tokens(values, missing)
    assert tokens.shape == (7, 4, 5)
    for phenotype, columns in enumerate([[0], [1, 2, 3], [4], [5]]):
        expected = values[:, columns] @ model.column_weight[columns] + model.token_bias[phenotype]
        torch.testing.assert_close(tokens[:, phenotype], expected)


def test_a_missing_phenotype_has_a_token_of_its_own():
    model, (values, missing) = encoder().eval(), profiles()
    missing[2, 1] = True
    tokens = model.tokens(values, missing)
    torch.testing.assert_close(tokens[2, 1], model.missing_token[1])
    torch.testing.assert_close(tokens[[0, 1, 3]], model.tokens(values, torch.zeros_like(missing))[[0, 1, 3]])
    average = model.tokens(torch.zeros_like(values), torch.zeros_like(missing))
    assert not torch.allclose(tokens[2, 1], average[2, 1])  # missing is not the same as average
    context = model(values, missing)
    values[2, 1:4] = 99.0  # what stands in the columns of a missing value does not matter
    torch.testing.assert_close(model(values, missing), context)
    values[2, 0] = 99.0
    assert not torch.allclose(model(values, missing), context)


def test_missing_tokens_learn():
    model, (values, missing) = encoder(), profiles()
    missing[:3, 1] = True
    model(values, missing).square().sum().backward()
    assert model.missing_token.grad[1].abs().sum() > 0
    assert model.missing_token.grad[[0, 2, 3]].abs().sum() == 0


def test_groups_are_dropped_in_training_only():
    groups = torch.tensor([0, 0, 1, 1])
    model, (values, missing) = encoder(group_of=groups, group_dropout=0.5), profiles(400)
    values = values[:1].repeat(400, 1)
    model.eval()
    calm = model(values, missing)
    torch.testing.assert_close(calm, calm[:1].repeat(400, 1))
    patterns = []
    for gone in ([], [0, 1], [2, 3], [0, 1, 2, 3]):  # groups go as a whole
        mask = missing[:1].clone()
        mask[:, gone] = True
        patterns.append(model(values[:1], mask))
    model.train()
    torch.manual_seed(3)
    noisy = model(values, missing)
    distance = torch.stack([(noisy - pattern).abs().amax(1) for pattern in patterns], 1)
    assert distance.amin(1).max() < 1e-4
    share = torch.bincount(distance.argmin(1), minlength=4) / 400
    assert share.tolist() == pytest.approx([0.25] * 4, abs=0.08)


def test_phenotypes_interact():
    """The effect of one phenotype depends on another: the context is no sum of parts."""
    model, (values, missing) = encoder().eval(), profiles(2)
    for part in (model.forward_layer[-1].weight, model.forward_layer[-1].bias):  # the cross layers alone
        torch.nn.init.zeros_(part)

    def effect(of: int, given: float) -> torch.Tensor:
        person = values[:1].clone()
        person[:, 4] = given
        moved = person.clone()
        moved[:, of] += 1
        return model(moved, missing[:1]) - model(person, missing[:1])

    assert not torch.allclose(effect(0, -1.0), effect(0, 1.0), atol=1e-3)


def test_each_person_is_encoded_alone():
    model, (values, missing) = encoder().eval(), profiles()
    missing[0, 3] = True
    together = model(values, missing)
    assert together.shape == (7, 16)
    torch.testing.assert_close(together, torch.cat([model(values[[n]], missing[[n]]) for n in range(7)]), atol=1e-5, rtol=1e-5)
