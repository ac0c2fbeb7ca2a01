"""adept-llm train: tune an adapter on a frozen model."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch.distributed as dist
from transformers.utils import logging

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.adapters.methods import METHODS
from adept_llm.base.loading import (
    load_model,
    load_tokenizer,
)
from adept_llm.cli.before_weights import (
    check_base,
    check_ids,
    check_sizes,
    needs_of,
    number_of_steps,
    say,
    sizes_of,
    why_padded,
)
from adept_llm.cli.columns import format_columns
from adept_llm.cli.dry_run import DryRunArguments, plan_of, plan_rows
from adept_llm.cli.parsing import check_writable, parse
from adept_llm.cli.result_table import format_result
from adept_llm.compat.config import commit_of
from adept_llm.compat.deepspeed import gathered
from adept_llm.data import Encoder, Example, Stored, fingerprint
from adept_llm.data.cached import encode_source
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import Answered
from adept_llm.evaluation.measure import check_best, make_measure, measure_answers
from adept_llm.packing import make_batcher
from adept_llm.record import FREE_TEXT, LABELS, BaseRecord, DataRecord, RunRecord
from adept_llm.tasks import get_task
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments, ModelArguments
from adept_llm.training.concurrent import Member
from adept_llm.training.data import read_test, read_validation, train_source
from adept_llm.training.launch import (
    adopt_slurm_ranks,
    agreed,
    join_ranks,
    leave_at_once,
    leave_together,
)
from adept_llm.training.launcher_watch import watch
from adept_llm.training.out_of_memory import advice, explained
from adept_llm.training.reference import ReferenceArguments, adopt
from adept_llm.training.run import run
from adept_llm.training.run_folder import claimed, clear, is_finished
from adept_llm.training.signals import STOPPED, StopOnSignal, Stopped, ignore_at_exit
from adept_llm.training.trainer import loss_alone

KINDS = (ModelArguments, AdeptConfig, DataArguments, AdeptTrainingArguments, ReferenceArguments)


def main(argv: Sequence[str]) -> int:
    """Check, load, tune, save, measure.

    Returns:
        0, or the exit code of a run that a signal stopped.

    Raises:
        InputError: for whatever is the user's to fix; nothing is written then.
    """
    stop = StopOnSignal()
    stop.install(at_once=True)
    ignore_at_exit()
    watching = watch()
    try:
        return train(argv, stop)
    except Stopped as signal:
        print(f"stopped by {signal.name} before the first step; nothing is lost", flush=True)
        if dist.is_initialized():
            leave_at_once(STOPPED)
        return STOPPED
    finally:
        stop.uninstall()
        if watching:
            watching.set()


def train(
    argv: Sequence[str],
    stop: StopOnSignal,
    member: Member | None = None,
) -> int:
    """The same, with the signals in hand.

    Args:
        argv: words of the command line.
        stop: with the signals.
        member: of runs that train at once on one base; None for a run alone.

    Raises:
        Stopped: by a signal before the first step.
    """
    adopt_slurm_ranks()
    *given, dry = parse((*KINDS, DryRunArguments), argv, prepare, "train")
    base, config, data, args, reference = given
    if args.disable_tqdm:
        logging.disable_progress_bar()
    folder = Path(str(args.output_dir))
    check_writable(folder)
    if dry.dry_run:
        return train_in(folder, base, config, data, args, reference, stop, dry_run=True)
    with claimed(folder):
        resume, overwrite = args.resume_from_checkpoint, args.overwrite_output_dir
        if done := agreed(lambda: is_finished(folder, resume, overwrite)):
            say(args, done)
            return 0
        return train_in(folder, base, config, data, args, reference, stop, member=member)


def train_in(
    folder: Path,
    base: ModelArguments,
    config: AdeptConfig,
    data: DataArguments,
    args: AdeptTrainingArguments,
    reference: ReferenceArguments,
    stop: StopOnSignal,
    dry_run: bool = False,
    member: Member | None = None,
) -> int:
    """One run in a folder of its own; a dry one ends where the weights would be read."""
    model_config = check_base(base, config, data, args)
    source = train_source(data, args.seed, args.do_predict)
    tokenizer = load_tokenizer(base.model_name_or_path, base.model_revision)
    encoder = Encoder(tokenizer, data.template, data.max_length, data.loss_on)
    train = encode_source(encoder, source)
    about = train.about
    check_ids(train, model_config)
    check_sizes(args, config, train)
    validation = read_validation(data, args.seed, about.labels)
    steps = number_of_steps(args, len(train))
    reference.check_length(config.method, steps)
    args.check_warmup(steps)
    task = get_task(data.task) if data.task else None
    how = (args.per_device_eval_batch_size, data.allow_code_execution, data.allow_unsandboxed_code)
    measure = test = None
    if validation:
        measure = make_measure(encoder, validation, task, *how)
    elif args.do_eval:
        raise InputError("eval_strategy: there is nothing to evaluate on; give --validation_file")
    check_best(args.metric_for_best_model, measure)
    if rows := read_test(data, args.seed, args.do_predict, about.labels):
        answers = measure_answers(encoder, rows, task, *how)
        test = Answered(answers, folder if args.should_save else None)
        say(args, f"test: {answers.report}; data {fingerprint(rows)}")
    record = start_record(base, config, data, args, data_record(data, train, validation))
    say(args, f"answers: {about.answers}")
    say(args, f"train: {about.report}; data {record.data.train_fingerprint}")
    if measure:
        say(args, f"validation: {measure.report}; data {record.data.validation_fingerprint}")
    if dry_run:
        plan = plan_of(args, config, train, steps)
        padded = why_padded(args, config, model_config, data.max_length)
        told = plan_rows(plan, padded, data.max_length, args.tokens_per_batch)
        say(args, format_columns(["dry run", ""], told))
        advice_on_time = "for its time, train --max_steps 20 and read tokens/s"
        say(args, f"nothing was written to {folder}; {advice_on_time}")
        leave_together()
        return 0

    load = member.load if member else load_model
    with explained(lambda: " while the base is read; --quantization nf4 makes it smaller"):
        model = load(base.model_name_or_path, base.model_revision, base.dtype, base.quantization)
        model = inject_adapter(
            model, config, tokenizer, gather=gathered, revision=commit_of(model.config)
        )
    batcher = make_batcher(model, args.packing, data.max_length)
    if batcher.why_padded:
        say(args, f"padding instead of packing: {batcher.why_padded}")
    if args.overwrite_output_dir:
        clear(folder)
    needs = partial(needs_of, base, config, data, args, model_config)
    loss_of = member.loss_of if member else loss_alone

    def would_fit() -> str:
        return advice(args, needs, *sizes_of(args, config, train, steps, batcher.packed))

    with explained(would_fit):
        _, result = run(model, args, train, batcher, measure, record, stop, test, loss_of)
    if result.stopped:
        say(
            args,
            f"stopped by {result.stopped} at step {result.steps}, and saved; "
            "go on with --resume_from_checkpoint auto",
        )
        leave_together()
        return STOPPED
    if args.should_save:
        record.finished(asdict(result)).write(folder)
    say(args, format_result(record, result, folder))
    leave_together()
    return 0


def prepare(found: Namespace) -> None:
    """Check what one argument says of another's; let the ranks meet, for whom Trainer's look.

    Raises:
        InputError: as `settle`.
    """
    settle(found)
    found.use_cpu = join_ranks(found.deepspeed, found.use_cpu)


def settle(found: Namespace) -> None:
    """Adopt what --reference names, and the method's own rates where none are given.

    Raises:
        InputError: for a rate of what the method lacks, for plain units without rates, for a test
            split that there is none of, or as `adopt`.
    """
    adopt(found)
    if found.do_predict and found.train_file and not found.test_file:
        raise InputError("do_predict: own data has no test split; give --test_file")
    method = METHODS.get(found.method)
    if not method:
        return  # which AdeptConfig says
    if method.offset.default_size is None and found.offset_learning_rate is not None:
        raise InputError(
            f"offset_learning_rate: {found.method} has no offset to train; take it out"
        )
    for name, form in (("learning_rate", method.prompt), ("offset_learning_rate", method.offset)):
        if getattr(found, name) is not None:
            continue
        if found.units == "plain" and form.default_rate:
            raise InputError(f"{name}: plain units have no default; give the rate of plain values")
        setattr(found, name, form.default_rate)


def data_record(data: DataArguments, train: Stored, validation: Sequence[Example]) -> DataRecord:
    """What is learnt and measured."""
    about = train.about
    return DataRecord(
        kind=LABELS if about.labels else FREE_TEXT,
        labels=about.labels if about.alike else (),
        template=data.template,
        max_length=data.max_length,
        train_rows=len(train),
        train_fingerprint=about.texts,
        validation_rows=len(validation),
        validation_fingerprint=fingerprint(validation) if validation else "",
        loss_on=data.loss_on,
        form=about.form,
    )


def start_record(
    base: ModelArguments,
    config: AdeptConfig,
    data: DataArguments,
    args: AdeptTrainingArguments,
    learnt: DataRecord,
) -> RunRecord:
    """The run's record, without results as yet."""
    given = BaseRecord(base.model_name_or_path, base.model_revision, base.dtype, base.quantization)
    arguments = {"model": asdict(base), "data": asdict(data), "training": args.to_dict()}
    return RunRecord.start(given, asdict(config), learnt, arguments)
