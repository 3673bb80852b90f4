"""Models of transformers with the losses that they compute themselves, all from tiny configurations."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import LOSSES, REDUCTIONS, ROWS, Module, Training, images, kind, load
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

N, VOCABULARY, LONGEST = 40, 37, 8
HF = ("transformers",)
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class Rows(Dataset[Any]):
    """Columns by name, as transformers' models want them."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {name: column[i] for name, column in self.columns.items()}


def text(length: int = LONGEST) -> dict[str, Tensor]:
    """Ids and mask of texts of different lengths."""
    mask = (torch.arange(length) < torch.randint(3, length + 1, (N, 1))).long()
    return {"input_ids": torch.randint(3, VOCABULARY, (N, length)) * mask, "attention_mask": mask}


def own_loss(model: Any, rows: Dataset[Any], **options: Any) -> Training:
    """Training with the loss that the model computes."""
    return Training(Module(lambda m, b: m.net(**b).loss, net=model, **options), load(rows))


def gpt2(**options: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=16,
            n_embd=16,
            n_layer=2,
            n_head=2,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            **options,
        )
    )


def causal(length: int = LONGEST) -> Rows:
    rows = text(length)
    return Rows(**rows, labels=rows["input_ids"].masked_fill(rows["attention_mask"] == 0, -100))


@kind(ROWS, hears="cross_entropy", needs=HF, also=("random", "infobatch"), ranks=True, resumes=True, classifies=True)
def causal_language_model() -> Training:
    return own_loss(gpt2(), causal())


@kind(ROWS, hears="cross_entropy", needs=HF)
def causal_language_model_with_as_many_tokens_as_samples() -> Training:
    # HF shifts by padding, so that (B·T) rows remain; 9 tokens are 8 targets for who shifts by hand.
    def step(m: Any, batch: Any) -> Tensor:
        logits = m.net(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return F.cross_entropy(
            logits[:, :-1].contiguous().view(-1, VOCABULARY), batch["labels"][:, 1:].contiguous().view(-1)
        )

    return Training(Module(step, net=gpt2()), load(causal(9)))


@kind(ROWS, hears="cross_entropy", needs=HF)
def llama() -> Training:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=1, max_position_embeddings=16, **TINY)
    return own_loss(LlamaForCausalLM(config), causal())


@kind(ROWS, hears="cross_entropy", needs=HF)
def causal_language_model_with_checkpointing() -> Training:
    model = gpt2()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return own_loss(model, causal())


@kind(ROWS, hears="cross_entropy", needs=HF)
def mixture_of_experts_with_a_balancing_loss() -> Training:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=VOCABULARY,
        num_key_value_heads=1,
        max_position_embeddings=16,
        num_local_experts=3,
        num_experts_per_tok=1,
        output_router_logits=True,
        router_aux_loss_coef=0.001,
        **TINY,
    )
    return own_loss(MixtralForCausalLM(config), causal())


@kind(ROWS, hears="cross_entropy", needs=HF, classifies=True)
def t5() -> Training:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    goals = text(6)
    labels = goals["input_ids"].masked_fill(goals["attention_mask"] == 0, -100)
    return own_loss(T5ForConditionalGeneration(config), Rows(**text(), labels=labels))


def bert(name: str, **options: Any) -> Any:
    import transformers

    config = transformers.BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **TINY, **QUIET, **options)
    return getattr(transformers, name)(config)


@kind(ROWS, hears="cross_entropy", needs=HF, classifies=True)
def masked_language_model() -> Training:
    rows = text()
    masked = (torch.rand(N, LONGEST) < 0.3) & (rows["attention_mask"] > 0)
    masked[:, 0] = True
    masked[3] = False  # one text with nothing to guess: no loss of its own
    labels = rows["input_ids"].masked_fill(~masked, -100)
    rows["input_ids"] = rows["input_ids"].masked_fill(masked, 1)
    return own_loss(bert("BertForMaskedLM"), Rows(**rows, labels=labels))


@kind(ROWS, hears="cross_entropy", needs=HF, classifies=True)
def token_classification() -> Training:
    rows = text()
    labels = torch.randint(0, 4, (N, LONGEST)).masked_fill(rows["attention_mask"] == 0, -100)
    return own_loss(bert("BertForTokenClassification", num_labels=4), Rows(**rows, labels=labels))


@kind(LOSSES, hears="cross_entropy", needs=HF, also=("random", "el2n", "infobatch"), classifies=True)
def sequence_classification() -> Training:
    return own_loss(
        bert("BertForSequenceClassification", num_labels=3), Rows(**text(), labels=torch.randint(0, 3, (N,)))
    )


@kind(LOSSES, hears="mse_loss", needs=HF)
def sequence_regression() -> Training:
    return own_loss(bert("BertForSequenceClassification", num_labels=1), Rows(**text(), labels=torch.randn(N)))


@kind(LOSSES, hears="binary_cross_entropy_with_logits", needs=HF)
def sequence_multilabel() -> Training:
    model = bert("BertForSequenceClassification", num_labels=4, problem_type="multi_label_classification")
    return own_loss(model, Rows(**text(), labels=torch.rand(N, 4).round()))


@kind(LOSSES, hears="cross_entropy", needs=HF)
def question_answering() -> Training:
    starts, ends = torch.randint(0, 3, (N,)), torch.randint(3, LONGEST, (N,))
    return own_loss(bert("BertForQuestionAnswering"), Rows(**text(), start_positions=starts, end_positions=ends))


@kind(LOSSES, hears="cross_entropy", needs=HF)
def multiple_choice() -> Training:
    ids = torch.randint(3, VOCABULARY, (N, 3, LONGEST))
    rows = Rows(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.randint(0, 3, (N,)))
    return own_loss(bert("BertForMultipleChoice"), rows)


@kind(LOSSES, hears="cross_entropy", needs=HF)
def vision_transformer() -> Training:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(image_size=16, patch_size=8, num_labels=5, **TINY, **QUIET)
    return own_loss(ViTForImageClassification(config), Rows(pixel_values=images(), labels=torch.randint(0, 5, (N,))))


@kind(LOSSES, hears="cross_entropy", needs=HF)
def segformer() -> Training:
    from kinds.table import without_batch_norm
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=4,
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        **QUIET,
    )
    labels = torch.randint(0, 4, (N, 16, 16)).masked_fill(torch.rand(N, 16, 16) < torch.rand(N, 1, 1) * 0.8, 255)
    model = without_batch_norm(SegformerForSemanticSegmentation(config))
    return own_loss(model, Rows(pixel_values=images(), labels=labels))


def _own_negatives(m: Any, batch: Any) -> Tensor:
    out = m.net(**batch)
    both = [
        F.cross_entropy(x, torch.arange(len(x)), reduction="none") for x in (out.logits_per_text, out.logits_per_image)
    ]
    return (both[0] + both[1]) / 2


@kind(LOSSES, hears="cross_entropy", needs=HF, truth=_own_negatives)
def clip_of_transformers() -> Training:
    from transformers import CLIPConfig, CLIPModel

    words = {"vocab_size": VOCABULARY, "max_position_embeddings": 16, "eos_token_id": 2, **TINY}
    config = CLIPConfig(text_config=words, vision_config={"image_size": 16, "patch_size": 8, **TINY}, projection_dim=8)
    return Training(
        Module(lambda m, b: m.net(**b, return_loss=True).loss, net=CLIPModel(config)),
        load(Rows(**text(), pixel_values=images())),
    )


@kind(LOSSES, hears="ctc_loss", needs=HF)
def speech_recognition_with_wav2vec2() -> Training:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    config = Wav2Vec2Config(
        vocab_size=VOCABULARY,
        conv_dim=[8, 8],
        conv_stride=[5, 4],
        conv_kernel=[10, 4],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_proj_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=0.0,
        feat_extract_norm="layer",
        ctc_loss_reduction="mean",
        pad_token_id=0,
        **TINY,
    )
    labels = torch.randint(3, VOCABULARY, (N, 5)).masked_fill(torch.arange(5) >= torch.randint(2, 6, (N, 1)), -100)
    return own_loss(Wav2Vec2ForCTC(config), Rows(input_values=torch.randn(N, 400), labels=labels))


def _sequence_log_probability(model: Any, ids: Tensor, labels: Tensor) -> Tensor:
    logits = model(ids).logits[:, :-1].log_softmax(-1)
    goals = labels[:, 1:]
    own = logits.gather(-1, goals.clamp(min=0)[..., None])[..., 0]
    return (own * (goals != -100)).sum(1)


@kind(REDUCTIONS, hears="mean", needs=HF)
def preferences_by_dpo() -> Training:
    """Direct preference optimisation; Rafailov et al. (2023), arXiv:2305.18290."""
    import copy

    def step(m: Any, batch: Any) -> Tensor:
        parts = {}
        for side in ("chosen", "rejected"):
            ids = batch[side]
            with torch.no_grad():
                reference = _sequence_log_probability(m.reference, ids, ids)
            parts[side] = _sequence_log_probability(m.net, ids, ids) - reference
        return -F.logsigmoid(0.5 * (parts["chosen"] - parts["rejected"]) - 0.3).mean()

    model = gpt2()
    reference = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():  # as after a while of training: else every sample's loss is the same
        for p in model.parameters():
            p += 0.2 * torch.randn_like(p)
    chosen, rejected = (torch.randint(3, VOCABULARY, (N, LONGEST)) for _ in range(2))
    return Training(Module(step, net=model, reference=reference, lr=0.01), load(Rows(chosen=chosen, rejected=rejected)))


@kind(ROWS, hears="cross_entropy", needs=HF)
def low_rank_adapters_by_hand() -> Training:
    """All weights frozen but a low-rank addition to the attention's projections."""
    model = gpt2().requires_grad_(False)

    class Adapted(torch.nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer
            self.down = torch.nn.Linear(layer.weight.shape[0], 2, bias=False)
            self.up = torch.nn.Linear(2, layer.weight.shape[1], bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.up(self.down(x))

    for block in model.transformer.h:
        block.attn.c_attn = Adapted(block.attn.c_attn)
    return own_loss(model, causal())
