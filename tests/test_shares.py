"""Fair shares: by weight, workspace first, nothing left over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.shares import Claimant, share


def test_two_alike_get_half_each() -> None:
    """And the odd one goes to somebody."""
    assert share(9, [Claimant((1, 1), 1, 0), Claimant((1, 2), 1, 0)]) == {(1, 1): 5, (1, 2): 4}


def test_weights_divide_a_workspaces_part() -> None:
    """Three to one."""
    assert share(100, [Claimant((1, 1), 3, 0), Claimant((1, 2), 1, 0)]) == {(1, 1): 75, (1, 2): 25}


def test_what_is_held_already_counts() -> None:
    """Who holds more than its part gets nothing until the others have caught up."""
    assert share(10, [Claimant((1, 1), 1, 50), Claimant((1, 2), 1, 5), Claimant((1, 3), 1, 5)]) == {(1, 2): 5, (1, 3): 5}


def test_a_tenants_flood_of_datasets_gets_no_more_than_its_part() -> None:
    """Ninety-nine datasets of one workspace, one of another: half each."""
    flood = [Claimant((1, number), 10, 0) for number in range(99)]
    shares = share(200, [*flood, Claimant((2, 1), 1, 0)])
    assert shares[2, 1] == 100


def test_nobody_alone_waits_for_others() -> None:
    """All room goes to the only one that has seeds."""
    assert share(64, [Claimant((1, 1), 0.001, 500)]) == {(1, 1): 64}


claimants = st.lists(
    st.builds(
        Claimant,
        st.tuples(st.integers(1, 3), st.integers(1, 50)),
        st.floats(0.001, 1000, allow_nan=False),
        st.integers(0, 1000),
    ),
    unique_by=lambda claimant: claimant.key,
    max_size=20,
)


@given(st.integers(-5, 3000), claimants)
def test_every_place_is_given_and_none_twice(room: int, who: list[Claimant]) -> None:
    """Whole, positive parts that add up to the room."""
    shares = share(room, who)
    assert sum(shares.values()) == (max(0, room) if who else 0)
    assert all(places > 0 for places in shares.values())
