"""The README's Wan2.2 section, followed word for word, with the pocket family's networks in the released files' formats
in place of the large ones."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import original_files
import pytest
import tiny_wan
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from safetensors.torch import save_file
from transformers import AutoTokenizer, UMT5EncoderModel

from rewardfl_app.cli.app import main
from rewardfl_app.inference import session
from rewardfl_app.models import conditioning, vae_sequence, wan
from rewardfl_app.models.sources import source
from rewardfl_app.pocket import paths, pocket_data
from rewardfl_app.rendering.clips import Batch, EncodedClip
from rewardfl_app.rendering.videos import evaluation_noise, render
from rewardfl_app.runs import metrics
from rewardfl_app.runs.folder import RunFolder

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
# The sizes of the small networks, on one CPU core or two: the README's are those of the large ones.
SMALL = {
    "data.num_frames": 5, "data.height": 64, "data.width": 64, "data.max_pixels": 4096, "data.fps": 8,
    "model.dtype": "float32", "reward.det_size": 96, "train.max_steps": 2, "train.save_steps": 2,
    "evaluation.num_samples": 2, "evaluation.eval_steps": 2, "train.gradient_accumulation_steps": 1,
    "train.train_batch_size": 1, "train.learning_rate": 1e-3, "train.warmup_steps": 0, "lora.lora_rank": 4,
}  # fmt: skip


def blocks() -> list[str]:
    """The code of the section, block by block."""
    section = README.partition("## Wan2.2\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in found if block.strip()]


def lay_out(folder: Path) -> None:
    """What the downloads leave: Wan's own files and names, a LoRA in lightx2v's, a face pack; and clips."""
    model = folder / "models" / "Wan2.2-I2V-A14B"
    for ours, theirs in (("transformer", "high_noise_model"), ("transformer_2", "low_noise_model")):
        expert = wan.load_expert(source(theirs, [paths.WAN / ours]))
        original_files.write_expert(model / theirs, expert, 3, "i2v")
        lightning = folder / "models" / "Wan2.2-Lightning" / "Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1"
        lightning.mkdir(parents=True, exist_ok=True)
        save_file(_lora(expert), lightning / f"{theirs}.safetensors")
    vae = wan.load_vae(source("vae", [paths.WAN / "vae"]))
    text = wan.load_text_encoder(source("text_encoder", [paths.WAN / "text_encoder"]))
    tokenizer = wan.load_tokenizer(str(paths.WAN / "tokenizer"))
    original_files.write_shared(model, text, _in_wans_scale(vae), tokenizer)
    shutil.copytree(paths.FACE_PACK, folder / "models" / "antelopev2")
    metadata, _ = pocket_data.ensure(folder / "drawn")
    shutil.copytree(metadata.parent, folder / "clips")


def _lora(expert: WanTransformer3DModel) -> dict[str, torch.Tensor]:
    """A small one that changes little, as lightx2v names it."""
    tensors, generator = {}, torch.Generator().manual_seed(0)
    for number in range(len(expert.blocks)):
        name = f"diffusion_model.blocks.{number}.self_attn.q"
        width = expert.config["num_attention_heads"] * expert.config["attention_head_dim"]
        tensors[f"{name}.lora_down.weight"] = 0.01 * torch.randn(4, width, generator=generator)
        tensors[f"{name}.lora_up.weight"] = 0.01 * torch.randn(width, 4, generator=generator)
        tensors[f"{name}.alpha"] = torch.tensor(4.0)
    return tensors


def _in_wans_scale(vae: wan.WanVae) -> wan.WanVae:
    """The same VAE with the mean and deviation of Wan2.1's latents, which its file does not hold: 1x1x1 convolutions
    beside the latents take up the difference."""
    assert vae.encoder is not None
    standard = wan.WanVae().config
    mean, std = (torch.tensor(vae.config[f"latents_{name}"]) for name in ("mean", "std"))
    wans_mean, wans_std = (torch.tensor(standard[f"latents_{name}"]) for name in ("mean", "std"))
    ratio, latent = wans_std / std, len(mean)
    with torch.no_grad():
        quant, post = vae.quant_conv, vae.post_quant_conv
        quant.weight[:latent] *= ratio.view(-1, 1, 1, 1, 1)
        quant.bias[:latent] = (quant.bias[:latent] - mean) * ratio + wans_mean
        shift = post.weight[:, :, 0, 0, 0] @ (mean - wans_mean / ratio)
        post.weight /= ratio.view(1, -1, 1, 1, 1)
        post.bias += shift
    return vae


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    """The run that comes of it, in the folder where everything was done, which is the current one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("rehearsal"))
        patch.setenv("REWARDFL_STATE_DIR", str(tmp_path_factory.mktemp("state")))  # devices of its own
        lay_out(Path.cwd())
        downloads, listing, settings, commands = blocks()[:4]
        places = re.findall(r"download (\w+) --to (\S+)", downloads)
        assert [name for name, _ in places] == ["wan2_2", "lightning", "antelopev2"]
        assert all(Path(place).is_dir() for _, place in places)
        Path(places[0][1], "model_paths.json").write_text(listing)
        Path("wan22.yaml").write_text(settings)
        run = None
        for line in commands.splitlines():
            words = shlex.split(line)
            assert words[:3] == ["python", "-m", "rewardfl_app"]
            arguments = words[3:]
            if arguments[0] in ("check", "train"):
                arguments += [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
            if run is not None:
                arguments = [str(run.path) if word == "RUN" else word for word in arguments]
            assert main(arguments) == 0, line
            if arguments[0] == "train":
                [folder] = [path for path in Path("runs").iterdir() if path.name.endswith("first")]
                run = RunFolder(folder.absolute())
        assert run is not None
        yield run


def test_a_user_of_the_real_weights_follows_the_readme(followed: RunFolder) -> None:
    records = [record for record in metrics.read_all(followed.metrics) if not metrics.is_evaluation(record)]
    assert [record["step"] for record in records] == [1, 2]
    assert all(record["face_rate"] > 0 and record["grad_norm"] > 0 for record in records)
    assert Path("report", "side_by_side.mp4").is_file() and Path("steadier.safetensors").is_file()


@torch.no_grad()
def test_plain_diffusers_makes_the_same_video_of_what_was_exported(followed: RunFolder) -> None:
    """The trained expert merged, the other from the released files; text encoder and VAE as diffusers has them."""
    assert main(["export", str(followed.path), "--format", "merged", "--out", "merged"]) == 0
    loaded = session.load(followed, "latest")
    model, high = loaded.model, loaded.model.experts["high_noise"]
    high.save_pretrained("high_noise")
    pipe = WanImageToVideoPipeline(
        tokenizer=AutoTokenizer.from_pretrained(paths.WAN / "tokenizer"),
        text_encoder=UMT5EncoderModel.from_pretrained(paths.WAN / "text_encoder", dtype=torch.float32),
        vae=AutoencoderKLWan.from_pretrained(paths.WAN / "vae", dtype=torch.float32),
        transformer=WanTransformer3DModel.from_pretrained("high_noise"),
        transformer_2=WanTransformer3DModel.from_pretrained("merged"),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        boundary_ratio=0.9,
    )
    first, prompt = torch.rand(1, 3, 64, 64) * 2 - 1, "a woman smiles"
    noise = evaluation_noise(3, 0, (16, 2, 8, 8))
    length = model.max_sequence_length
    latents = tiny_wan.latents_of(pipe, first, [prompt], noise[None], max_sequence_length=length)
    theirs = pipe.vae.decode(vae_sequence.denormalise(pipe.vae, latents)).sample
    condition = conditioning.encode_condition(model.vae, first, 5)[0]
    text = conditioning.encode_prompts(model, [prompt])[0]
    clip = EncodedClip(1, "x", prompt, text, condition, clean=None, reference=None, size=(5, 64, 64))
    ours = render(model, loaded.grid, Batch.of([clip]), noise[None])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)
    model.experts["low_noise"].disable_adapters()  # and it is what was trained that makes the difference
    base = render(model, loaded.grid, Batch.of([clip]), noise[None])
    assert float((base - ours).abs().max()) > 10 * float((ours - theirs).abs().max())
