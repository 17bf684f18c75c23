from job.gate import decide


def test_without_a_floor_every_model_is_promoted():
    assert decide(accuracy=0.0, min_accuracy=None).promote


def test_the_floor_itself_is_good_enough():
    assert decide(accuracy=0.9, min_accuracy=0.9).promote
    below = decide(accuracy=0.8999, min_accuracy=0.9)
    assert not below.promote
    assert below.reasons == ("Test accuracy 0.8999 is below the floor of 0.9000.",)
