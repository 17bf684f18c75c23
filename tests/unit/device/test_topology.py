import json

import pytest

from job.config.training import TrainingOptions
from job.device.topology import Topology, topology
from job.errors import UsageError

WORKERS = {"worker": ["a:2222", "b:2222"]}


def tf_config(cluster, kind, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_one_host_needs_no_others():
    for environment in ({}, tf_config({"worker": ["a:1"]}, "worker", 0), {"TF_CONFIG": "{}"}):
        assert topology(TrainingOptions(), environment) is None
    assert topology(TrainingOptions(hosts=1), {"JOB_COMPLETION_INDEX": "0"}) is None


def test_tf_config_names_the_workers_and_a_chief_is_the_first():
    found = topology(TrainingOptions(), tf_config(WORKERS, "worker", 1))
    assert found == Topology(index=1, addresses=("a:2222", "b:2222"))
    cluster = {"chief": ["c"], **WORKERS}
    assert topology(TrainingOptions(), tf_config(cluster, "chief", 0)).index == 0
    found = topology(TrainingOptions(hosts=3), tf_config(cluster, "worker", 1))
    assert found == Topology(index=2, addresses=("c:2222", "a:2222", "b:2222"))


def test_kubernetes_numbers_the_pods():
    options = TrainingOptions(hosts=3, peer_address="job-{index}.peers")
    found = topology(options, {"JOB_COMPLETION_INDEX": "2"})
    assert found.index == 2
    assert found.addresses == ("job-0.peers:2222", "job-1.peers:2222", "job-2.peers:2222")


def test_worker_0_is_met_on_a_port_that_no_worker_has():
    assert Topology(index=1, addresses=("a:2222", "b:2222")).meeting == ("a", 2223)
    six = topology(TrainingOptions(), tf_config({"worker": ["[::1]", "[::1]:5"]}, "worker", 0))
    assert (six.addresses[0], six.meeting) == ("[::1]:2222", ("::1", 2223))
    local = Topology(index=1, addresses=("a:5000", "a:5001", "a:5003"))
    assert (local.meeting, local.port) == (("a", 5002), 5001)


@pytest.mark.parametrize(
    ("options", "environment", "received"),
    [
        ({"hosts": 2}, {}, "none, and no TF_CONFIG"),
        ({"hosts": 2, "peer_address": "p-{index}"}, {}, "Received: ''"),
        ({"hosts": 2, "peer_address": "p-{index}"}, {"JOB_COMPLETION_INDEX": "2"}, "'2'"),
        ({"hosts": 2, "peer_address": "p-{index}:x"}, {"JOB_COMPLETION_INDEX": "0"}, "'p-0:x'"),
        ({"hosts": 3}, tf_config(WORKERS, "worker", 0), "Received: 3"),
        ({}, tf_config(WORKERS, "worker", 2), "2 is not in range"),
        ({}, tf_config(WORKERS, "worker", -1), "-1 is not in range"),
        ({}, tf_config({"worker": "a:2222"}, "worker", 0), "lists of addresses"),
        ({}, tf_config({"worker": ["a:1"], "ps": ["b:1"]}, "ps", 0), "KeyError: 'ps'"),
        ({}, tf_config({"worker": ["a:1", "a:1"]}, "worker", 0), "a:1, a:1"),
        ({}, tf_config({"worker": ["a:1", ""]}, "worker", 0), "Received: ''"),
        ({}, tf_config({"worker": ["a:1", "grpc://b:1"]}, "worker", 0), "'grpc://b:1'"),
        ({}, tf_config(WORKERS, "ps", 0), "KeyError: 'ps'"),
        ({}, {"TF_CONFIG": "{"}, "JSONDecodeError"),
        ({}, {"TF_CONFIG": "[]"}, "AttributeError"),
    ],
)
def test_what_does_not_name_the_hosts(options, environment, received):
    with pytest.raises(UsageError) as error:
        topology(TrainingOptions(**options), environment)
    assert received in error.value.message


def test_an_address_needs_its_place_for_the_number():
    with pytest.raises(UsageError, match="index"):
        TrainingOptions(peer_address="mlp-job")
