"""What looking inside costs: `python tests/bench/probes.py [--size 512] [--steps 12]`, on a quiet machine.

Prints one JSON object. 16 frames; the variants are run in turns, and a figure is the median of the ratios within each
turn, with the lowest and the highest beside it.

- `all`, and one row for each probe: a clip with probes in their default capture, as a share of one without (the mean of one before and one after).
- `off`: a clip after watching has ended, as a share of one before anything was ever watched in that turn's pipeline; what
  is left behind would show here.
- `panel`: a clip made by the panel (worker thread, all probes, preview, views, no browser), from the first to the last
  event, as a share of the same with its probes but without a panel (`as_panel`: numpy's memory is measured, too);
  `panel_of_bare` as a share of one without probes.
- `updates_per_second`: how often the panel drew while the clip was made.
- `stop_ms`: from a click on Stop until the model has stopped, the worst of five; `steps_after_stop`: how many steps ended
  after the click (the one that was going on is one); `stopped_ms`: until the status says so, after the last preview and all
  views are drawn; `step_ms`: a step of the panel's run, for comparison.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from curves import WALK, picture_of

import i2v_lab as lab
from i2v_lab.pipeline.probe import probe_names
from i2v_lab.probes.memory import MemoryProbe
from i2v_lab.views.panel import PROBES


def timed(work) -> float:  # seconds
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def panel_run(panel: "lab.Lab", stop_after: float | None = None) -> dict:
    "A clip by the panel: seconds of the run itself, drawings, and how long Stop took."
    drawn, draw = [], type(panel).draw

    def counted():
        drawn.append(time.perf_counter())
        draw(panel)

    panel.draw = counted
    stopped, over, generate = 0.0, [], panel.pipe.generate

    def timed_generate(*args, **kw):
        try:
            return generate(*args, **kw)
        finally:
            over.append(time.perf_counter())

    panel.pipe.generate = timed_generate
    panel.run()
    if stop_after is not None:
        while not panel.status.value.startswith("running"):
            time.sleep(0.002)
        time.sleep(stop_after)
        before, start = panel.run_now.step, time.perf_counter()
        panel.stop.click()
        while panel.status.value != "stopped":
            time.sleep(0.002)
        stopped = time.perf_counter() - start
    panel.job.thread.join()
    del panel.draw, panel.pipe.generate
    events = [e for reading in panel.trace.readings.values() for e in reading]
    ends = sorted({e.seconds for e in panel.trace.motion if e.stage == "denoise"})
    out = dict(seconds=max(e.seconds for e in events), drawn=len(drawn), step=statistics.median(np.diff(ends)))
    if stop_after is not None:
        out |= dict(stop=over[0] - start, stopped=stopped, after=len(ends) - before)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="width and height of the picture")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=12)
    args = parser.parse_args()
    pipe, picture = lab.load_pipeline(), picture_of(args.size, args.size)
    make = lambda **kw: pipe.generate(picture, WALK, num_inference_steps=args.steps, **kw)

    def watched(*names):
        with pipe.watch(*names):
            make()

    panel = lab.Lab(pipe)
    panel.controls.use(picture, "bench")
    panel.controls.prompt.value, panel.controls.steps.value = WALK, args.steps
    panel.controls.mix.switch([])
    rows: dict[str, list[float]] = {}
    draws = []
    for turn in range(args.turns + 1):
        seconds = {"bare": timed(make), "all": timed(watched)}
        seconds |= {name: timed(lambda name=name: watched(name)) for name in probe_names()}
        seconds["off"] = timed(make)
        seconds["as_panel"] = timed(lambda: watched(*PROBES, MemoryProbe(numpy=True)))
        by_panel = panel_run(panel)
        seconds["panel_of_bare"] = by_panel["seconds"]
        if turn:  # the first is a warm-up
            without = (seconds["bare"] + seconds["off"]) / 2  # one before the others and one after: a machine drifts
            for name, s in seconds.items():
                rows.setdefault(name, []).append(s / (seconds["bare"] if name == "off" else without))
            rows.setdefault("panel", []).append(by_panel["seconds"] / seconds["as_panel"])
            draws.append(by_panel["drawn"] / by_panel["seconds"])
    panel.controls.steps.value = 60
    stops = [panel_run(panel, stop_after=0.3 + 0.02 * k) for k in range(5)]  # here and there within a step
    spread = lambda x: dict(median=round(statistics.median(x), 3), low=round(min(x), 3), high=round(max(x), 3))
    out = {name: spread(x) for name, x in rows.items() if name != "bare"}
    out |= dict(
        updates_per_second=spread(draws),
        stop_ms=round(1000 * max(s["stop"] for s in stops)),
        stopped_ms=round(1000 * max(s["stopped"] for s in stops)),
        steps_after_stop=max(s["after"] for s in stops),
        step_ms=round(1000 * statistics.median(s["step"] for s in stops)),
        clip=f"16 frames, {args.size} x {args.size}, {args.steps} steps",
        turns=args.turns,
        threads=torch.get_num_threads(),
        dtype=pipe.precision_name,
        device=str(pipe.device),
    )
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
