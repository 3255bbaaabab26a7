"""What is measured against the peer: writing reports and learning to, at equal sizes and with equal work.

Equal are the pictures (already as tensors), the number of patches, the widths and depths of ViT and GPT-2, the
vocabulary, and the number of tokens of every report, which none ends earlier. How the pictures reach the text
differs: here as a prefix of pooled patches and finding tokens, in the peer by cross-attention.
"""

from bench import ours, peer
from bench.comparison import Task, Work
from bench.inputs import make_batch
from bench.sizes import BenchSizes

LEARNING_RATE = 5e-4
PEER = "transformers' VisionEncoderDecoderModel and its generate"


def peer_tasks(sizes: BenchSizes) -> list[Task]:
    """Writing about one study and about many, learning, and what an adapter costs that is not merged."""
    many = sizes.num_studies
    return [
        Task(
            name="reports, 1 study at a time",
            one_means=f"as fast as {PEER}",
            prepare=lambda: writing(sizes, 1),
            repetitions=sizes.repetitions,
        ),
        Task(
            name=f"reports, {many} studies at a time",
            one_means=f"as fast as {PEER}",
            prepare=lambda: writing(sizes, many),
            repetitions=sizes.many_repetitions,
        ),
        Task(
            name=f"training with LoRA, batches of {sizes.train_batch_size}",
            one_means="as fast as VisionEncoderDecoderModel with the same LoRA on its GPT-2 and cross-attention",
            prepare=lambda: training(sizes),
            repetitions=sizes.repetitions,
        ),
        Task(
            name="reports with LoRA not merged, 1 study at a time",
            one_means="as fast as our own model without LoRA",
            prepare=lambda: writing_with_lora(sizes),
            repetitions=sizes.repetitions,
        ),
    ]


def writing(sizes: BenchSizes, num_studies: int) -> tuple[Work, Work]:
    return ours_writing(sizes, num_studies), peer_writing(sizes, num_studies)


def writing_with_lora(sizes: BenchSizes) -> tuple[Work, Work]:
    return ours_writing(sizes, 1, lora=True), ours_writing(sizes, 1)


def training(sizes: BenchSizes) -> tuple[Work, Work]:
    return ours_training(sizes), peer_training(sizes)


def ours_writing(sizes: BenchSizes, num_studies: int, *, lora: bool = False) -> Work:
    model, batch = ours.build_ours(sizes, lora=lora), make_batch(sizes, num_studies)
    return lambda: num_reports(ours.write(model, batch, sizes.num_new_tokens), sizes)


def peer_writing(sizes: BenchSizes, num_studies: int) -> Work:
    model, pixel_values = peer.build_peer(sizes, lora=False), make_batch(sizes, num_studies)["pixel_values"][:, 0]
    return lambda: num_reports(peer.write(model, pixel_values, sizes.num_new_tokens), sizes)


def ours_training(sizes: BenchSizes) -> Work:
    batch = make_batch(sizes, sizes.train_batch_size)
    step = ours.make_training_step(ours.build_ours(sizes, lora=True), batch, learning_rate=LEARNING_RATE)
    return lambda: (step(), sizes.train_batch_size)[1]


def peer_training(sizes: BenchSizes) -> Work:
    batch = make_batch(sizes, sizes.train_batch_size)
    pixel_values, labels = batch["pixel_values"][:, 0], batch["input_ids"][:, 1:]
    step = peer.make_training_step(peer.build_peer(sizes, lora=True), pixel_values, labels, learning_rate=LEARNING_RATE)
    return lambda: (step(), sizes.train_batch_size)[1]


def num_reports(reports: list[list[int]], sizes: BenchSizes) -> int:
    """How many there are; all must have the full length, else the two sides did unequal work."""
    assert all(len(report) == sizes.num_new_tokens for report in reports), reports
    return len(reports)


def work_of_both(sizes: BenchSizes) -> dict[str, dict[str, int]]:
    """What shows that the work is equal, and where it is not."""
    model, other = ours.build_ours(sizes, lora=True), peer.build_peer(sizes, lora=True)
    batch = make_batch(sizes, 1)
    prefix = model.prefix(**{name: batch[name] for name in ours.INPUTS})
    rows, columns = model.encoder.grid
    trained, other_trained = (
        sum(parameter.numel() for parameter in each.parameters() if parameter.requires_grad) for each in (model, other)
    )
    return {
        "patches_of_a_picture": {
            "ours": rows * columns,
            "peer": other.encoder.embeddings.patch_embeddings.num_patches,
        },
        "decoder_positions_before_the_text": {"ours": prefix.mask.shape[1], "peer": 0},
        "new_tokens_of_a_report": {"ours": sizes.num_new_tokens, "peer": sizes.num_new_tokens},
        "parameters": {"ours": model.num_parameters()[0], "peer": other.num_parameters()},
        "trained_parameters": {"ours": trained, "peer": other_trained},
    }
