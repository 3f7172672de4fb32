"""Every built-in quantity is declared completely."""

from orchestrator.study.quantities.catalogue import BUILT_IN, DECLARED, canonical, estimators_named
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from orchestrator.study.record import SCALARS, VECTORS


def test_keys_and_columns_are_unique() -> None:
    quantities = (*SCALARS, *VECTORS, *DECLARED)
    assert len({quantity.key for quantity in quantities}) == len(quantities)
    assert len({quantity.column for quantity in quantities}) == len(quantities)


def test_every_quantity_has_texts_and_every_kind_a_cost() -> None:
    assert all(q.unit and q.label and q.meaning and "/" in q.key for q in DECLARED)
    assert all(kind.cost and kind.__doc__ for kind in BUILT_IN.values())


def test_errors_are_keys_of_other_quantities() -> None:
    keys = {quantity.key for quantity in (*SCALARS, *VECTORS, *DECLARED)}
    assert {quantity.error for quantity in DECLARED} <= keys | {"", "exact"}


def test_the_order_is_that_of_the_catalogue_and_own_quantities_come_last() -> None:
    own = [OwnQuantityConfig(name=name) for name in ("zoo:a", "lab:b")]
    lanczos, algorithm1 = estimators_named("lanczos", "algorithm1")
    assert [each.name for each in canonical((own[0], algorithm1, own[1], lanczos))] == [
        "lanczos",
        "algorithm1",
        "lab:b",
        "zoo:a",
    ]
