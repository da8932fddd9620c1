import pytest

pytest.register_assert_rewrite("tests.model.evaluation.yardstick_contract")
