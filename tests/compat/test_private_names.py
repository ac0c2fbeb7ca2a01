"""Private names of other libraries stand in compat alone, strings and comments included.

ruff (SLF001, TID251) sees attributes and imports; `getattr(x, "ds_id")` it does not.
"""

import re
from pathlib import Path

import pytest

import adept_llm
from tests.compat.test_trainer import HOOKS

ROOT = Path(adept_llm.__file__).parent
NAMES = {
    *HOOKS,
    "model_accepts_loss_kwargs", "_loss_shifts_labels", "_train_batch_size", "ExportableState",
    "transformers.integrations", "hf_quantizer", "is_qat_trainable", "_commit_hash",
    "support_avx512bf16_for_cpu", "_cdata", "ds_id", "ds_shape", "ds_tensor",
    "ds_secondary_tensor", "GatheredParameters", "all_gather", "safe_get_full_fp32_param",
    "safe_set_full_fp32_param", "safe_get_full_optimizer_state", "safe_set_full_optimizer_state",
    "fp32_partitioned_groups_flat", "single_partition_of_fp32_groups",
    "_hp_optimizer_states_linked", "_lazy_init_hp_params_optimizer_state", "__compatible_ops__",
    "_shared_state", "init_8bit_state",
}  # fmt: skip
# what compat has no need of, and others must not look at either
SHUNNED = {"_attn_implementation", "ALL_ATTENTION_FUNCTIONS", "ALL_MASK_ATTENTION_FUNCTIONS"}


def files_with(name):
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    paths = (path for path in ROOT.rglob("*.py") if pattern.search(path.read_text()))
    return {path.relative_to(ROOT).as_posix() for path in paths}


@pytest.mark.parametrize("name", sorted(NAMES | SHUNNED))
def test_a_private_name_stands_in_compat_alone(name):
    found = files_with(name)
    assert {path for path in found if not path.startswith("compat/")} == set()
    # a name that compat no longer uses is to be dropped here
    assert name in SHUNNED or any(path.startswith("compat/") for path in found)
