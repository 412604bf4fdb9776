"""What the model does not know is not judged; what QEMU refuses at set-up is a verdict."""

from pathlib import Path
from typing import Any

import pytest

from harness.check.verdict import Outcome
from harness.errors import CannotRunHere
from harness.job.run import Run, run_scenario
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, Scenario, Tls, Transport
from harness.scenario.action_plan import Execute, Target, status
from harness.vm import fetched

PLAIN = EmulatedDevice(id="vfio0", size=3 * MIB, multifd_transfer=OnOffAuto.AUTO)
NO_MULTIFD = {"multifd": False}


def _scenario(**fields: Any) -> Scenario:
    return Scenario(**{"name": "settings", "devices": (PLAIN,), **fields})


def _on(*names: str, **fields: Any) -> dict[str, Any]:
    return {"capabilities": dict.fromkeys(names, True), **fields}


def _run_alone(run: Run, outcome: Outcome) -> str:
    """RUN's sentence; no other requirement is asked, except SET-11, which agrees."""
    finding, *others = run.verdict.findings
    assert [each.requirement for each in others] in ([], ["SET-11"])
    assert {each.outcome for each in others} <= {outcome}, others
    assert (finding.requirement, finding.outcome) == ("RUN", outcome), finding.sentence
    assert run.verdict.overall is outcome
    return f"{finding.sentence} {finding.numbers.get('said', '')}".lower()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (_on("background-snapshot", **NO_MULTIFD, return_path=False), "background"),
        (_on("background-snapshot"), "background-snapshot is not"),
        (_on("postcopy-ram", **NO_MULTIFD), "postcopy"),
        (_on("postcopy-ram"), "postcopy"),
        (_on("postcopy-preempt"), "postcopy preempt requires postcopy-ram"),
        (_on("xbzrle"), "multifd is not compatible with xbzrle"),
        (_on("switchover-ack", return_path=False), "'switchover-ack' requires"),
        (_on("zero-copy-send", **NO_MULTIFD), "zero copy only available"),
        (_on("zero-copy-send", tls=Tls.PSK), "zero copy only available"),
        (_on("dirty-limit"), "dirty-limit requires kvm"),
        (_on("mapped-ram"), "seekable"),
        ({"parameters": {"mode": "cpr-transfer"}}, "missing 'cpr' migration channel"),
        ({"parameters": {"mode": "cpr-reboot"}, **NO_MULTIFD}, "runstate suspended"),
        ({"parameters": {"downtime-limit": 2_000_001}}, "expects an integer"),
        ({"parameters": {"multifd-zlib-level": 10}}, "expects a value"),
    ],
)
async def test_refusal_at_set_up_is_valid_and_about_nothing_else(judged, fields, words) -> None:
    sentence = _run_alone(await judged(_scenario(**fields)), Outcome.VALID)
    assert words in sentence


@pytest.mark.requirement("SET-11")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        # From 10.1 on the capabilities go together, and VFIO refuses postcopy.
        (_on("postcopy-ram"), "postcopy"),
        (_on("background-snapshot", **NO_MULTIFD, return_path=False), "background snapshot"),
        (
            _on("postcopy-ram", **NO_MULTIFD, parameters={"mode": "cpr-reboot"}),
            "Cannot use postcopy with CPR",
        ),
    ],
)
@pytest.mark.parametrize("number", [0, 1])
async def test_each_build_refuses_what_cannot_be_combined(
    judged, kept, number, fields, words
) -> None:
    binaries = [str(path) for path in fetched.binaries(is_plain=True)]
    assert len(binaries) > 1, "there is one build only: vfio-multifd qemu fetch"
    run = await judged(_scenario(qemu=binaries[number], qemu_dst=binaries[number], **fields))
    kept(run, "RUN", "SET-11")
    assert words.lower() in str(run.verdict.finding("SET-11").numbers["said"]).lower()


@pytest.mark.requirement("SET-11")
@pytest.mark.parametrize("number", [0, 1])
async def test_zero_copy_goes_with_the_transfer_and_is_used(judged, kept, number) -> None:
    binary = str(fetched.binaries(is_plain=True)[number])
    zero_copy = _on("zero-copy-send", transport=Transport.TCP, qemu=binary, qemu_dst=binary)
    run = await judged(_scenario(**zero_copy))
    kept(run, "RUN", "ORD-1", "SET-11")
    assert run.verdict.finding("SET-11").numbers["zero_copy_sends"] > 0


@pytest.mark.requirement("SET-11")
async def test_auto_converge_goes_with_the_transfer(judged, kept) -> None:
    kept(await judged(_scenario(**_on("auto-converge"))), "RUN", "ORD-1", "SET-11")


@pytest.mark.parametrize(
    ("fields", "named", "seen"),
    [
        (_on("postcopy-blocktime"), "capability postcopy-blocktime", "status is completed"),
        ({"parameters": {"x-checkpoint-delay": 1}}, "x-checkpoint-delay=1", "status is completed"),
        (
            {"parameters": {"direct-io": True}, **NO_MULTIFD},
            "direct-io=true",
            "status is completed",
        ),
        ({"parameters": {"xbzrle-cache-size": 5}}, "xbzrle-cache-size=5", "power of two"),
        (_on("pause-before-switchover", deadline_s=1.0), "pause-before-switchover", "did not come"),
    ],
)
async def test_setting_that_the_model_does_not_know_is_not_judged(
    judged, fields, named, seen
) -> None:
    sentence = _run_alone(await judged(_scenario(**fields)), Outcome.UNKNOWN)
    assert named in sentence
    assert seen in sentence


@pytest.mark.parametrize("arguments", [{"multifd-channels": 2}, {"multifd-channels": 8}])
async def test_settings_that_change_on_one_side_are_not_judged(judged, arguments) -> None:
    """Where the sides disagree, both may wait for each other for ever."""
    change = Execute(
        when=status(Target.DESTINATION, "setup"),
        target=Target.SOURCE,
        command="migrate-set-parameters",
        arguments=arguments,
    )
    run = await judged(_scenario(actions=(change,), deadline_s=2.0))
    sentence = _run_alone(run, Outcome.UNKNOWN)
    assert "command migrate-set-parameters of multifd-channels to the source" in sentence


@pytest.mark.parametrize(
    "fields",
    [
        _on("auto-converge"), _on("release-ram"), _on("validate-uuid"), _on("rdma-pin-all"),
        _on("late-block-activate"), _on("xbzrle", **NO_MULTIFD),
        {"parameters": {"announce-rounds": 0, "zero-page-detection": "legacy"}},
    ],
)  # fmt: skip
async def test_setting_that_the_model_knows_is_judged(judged, kept, fields) -> None:
    kept(await judged(_scenario(**fields)), "RUN", "ORD-1", "SET-1")


@pytest.mark.parametrize(
    "fields", [_on("no-such-capability"), {"parameters": {"no-such-parameter": 1}}]
)
async def test_what_the_build_lacks_cannot_run_here(
    results_dir: Path, qemu_src: Path, fields
) -> None:
    wanted = _scenario(qemu=str(qemu_src), qemu_dst=str(qemu_src), **fields)
    with pytest.raises(CannotRunHere, match="this build has no no-such-"):
        await run_scenario(wanted, results_dir)


async def test_settings_of_a_migration_do_not_last_into_the_next(judged_in_turn, kept) -> None:
    """The QEMU that goes on keeps what was set, the new one does not know of it."""
    again = _scenario(name="again", devices=(PLAIN,))
    first = _scenario(
        parameters={"multifd-compression": "zlib"},
        capabilities={"auto-converge": True, "validate-uuid": True},
        then=(again,),
    )
    run, following = await judged_in_turn(first)
    kept(run, "RUN", "SET-2")
    kept(following, "RUN", "ORD-1", "SET-1")
    told = [
        record.args["arguments"]
        for record in following.history.records
        if record.name == "execute" and record.args["command"] == "migrate-set-parameters"
    ]
    assert {"multifd-compression": "none"}.items() <= max(told, key=len).items()
