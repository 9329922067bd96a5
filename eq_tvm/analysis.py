"""Where a quantized network loses accuracy, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.building.turns import one_at_a_time
from eq_tvm.errors import UserError
from eq_tvm.methods import OWN
from eq_tvm.options.declared import QuantizeOptions
from eq_tvm.options.option import keywords_of
from eq_tvm.quantizing.hints import hint
from eq_tvm.quantizing.images import images_in, images_to_analyze, images_to_compare, read_images
from eq_tvm.quantizing.quantization import Quantization

_SYNTHESIZED = 0.2  # where the images are there, if they are made from the network
_CALIBRATED = 0.5  # where calibration ends on the progress bar
_IMAGES = 50


@keywords_of(QuantizeOptions)
@one_at_a_time
def analyze(options: QuantizeOptions) -> dict[str, Any]:
    """Quantize a network, and find out what that costs each layer.

    On 50 of the calibration images that find no scales; on those that do, where fewer than 8 are left.
    `progress` is called with what is done (0 to 1) and a message. `example` is what a torch.nn.Module takes: a tensor,
    or a tuple. Threads take turns.

    Returns
    -------
    dict
        What `eq_tvm.passes.analyze_layers` gives, the layers in the order of their `share`, the worst first, each with
        a `hint` (empty for those that do no harm); and `model`, `scheme`, `method`, `activation_range`, `images` (how
        many found the scales), `analyzed` (the number of other images it was done on, or 0), `source`, `kept`.

    Raises
    ------
    UserError
        As `eq_tvm.compile`.
    """
    how = Quantization.checked(options)
    if how.scheme == "float32":
        raise UserError("--scheme float32 quantizes nothing: analyze int7, int8 or int6")
    if how.scheme == OWN:
        raise UserError(f"{how.model} is quantized already: analyze the float32 network that it was made of")
    from eq_tvm import passes
    from eq_tvm.quantizing.best_method import calibrate

    progress = options.progress or passes.no_progress
    progress(0.0, f"importing {how.model.name}")
    module, inputs, _ = import_canonical(how.model, options.input_shapes, constants=options.constants)

    how = how.affordable(module, progress).with_ends(module).cautious(module, inputs)
    arrays, held_out = read_images(how, inputs, module, passes.part_of(progress, 0.0, _SYNTHESIZED))
    if held_out is not None:
        held_out.samples.warn_of_raw_pixels()
    named = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
    with pass_errors():
        best = calibrate(
            module,
            named,
            images_to_compare(held_out, named),
            how,
            passes.part_of(progress, _SYNTHESIZED * bool(how.synthesized), _CALIBRATED),
        )
        how = best.how
        analyzed_on = images_to_analyze(held_out, named, _IMAGES)
        found = passes.analyze_layers(
            best.prepared,
            best.annotated,
            analyzed_on,
            calibrated_on=named,
            **how.options,
            kept=how.kept,
            imported=module,
            progress=passes.part_of(progress, _CALIBRATED, 1.0),
        )
    layers = sorted(found["layers"], key=lambda layer: -layer["share"])
    return {
        "model": how.model.stem,
        "scheme": how.scheme,
        "method": how.method,
        "activation_range": how.activation_range,
        "images": images_in(arrays, how, inputs),
        "analyzed": 0 if analyzed_on is named else images_in(list(analyzed_on.values()), how, inputs),
        "source": Path(how.calibration).name,
        "kept": how.kept,
        "cosine": found["cosine"],
        "sqnr_db": found["sqnr_db"],
        "layers": [layer | {"hint": hint(layer, len(layers), how.method)} for layer in layers],
    }
