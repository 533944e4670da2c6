"""The personalised world: deterministic, splits apart, a teacher near the latent quality."""

from scipy.stats import spearmanr

from recipes.scenes import personalised, personalised_rules
from recipes.scenes.world import HELD_OUT_PAIRS
from t2i_judge.decompose import from_lines, to_lines
from t2i_judge.prompts import AS_IN_REFERENCE
from t2i_judge.scoring import aspect_scores

ASPECTS = ("concept_preservation", "prompt_following")


def teacher_scores(sample):
    questions = personalised_rules.decompose(sample.task.text)
    answers = [personalised_rules.answer(sample.scene, sample.task.reference, question) for question in questions]
    assert not personalised_rules.summarise(questions, answers).keys() - {*ASPECTS, "overall"}
    return aspect_scores(questions, answers)


def test_the_same_seed_gives_the_same_pictures():
    first, second = personalised.make_samples(14, 3), personalised.make_samples(14, 3)
    assert [s.image.tobytes() for s in first] == [s.image.tobytes() for s in second]
    assert [s.task for s in first] == [s.task for s in second]


def test_references_of_one_split_are_in_no_other():
    seen = {
        split: {sample.task.reference for sample in personalised.make_samples(210, 0, split)}
        for split in ("train", "new_prompts", "new_pairs")
    }
    assert not seen["train"] & (seen["new_prompts"] | seen["new_pairs"])
    assert all((r.shape, r.color) in HELD_OUT_PAIRS for r in seen["new_pairs"])
    for sample in personalised.make_samples(210, 0):
        assert not {(g.shape, g.color) for g in sample.scene.groups} & HELD_OUT_PAIRS


def test_seven_methods_of_three_families_trade_one_aspect_against_the_other():
    families = [method.family for method in personalised.METHODS.values()]
    assert len(families) == 7
    assert set(families) == {"tuned", "tuning-free", "mllm"}
    means = {}
    for sample in personalised.make_samples(700, 1, "new_prompts"):
        means.setdefault(sample.method, []).append(personalised.quality(sample.task, sample.scene))
    average = {m: {a: sum(q[a] for q in qs) / len(qs) for a in ASPECTS} for m, qs in means.items()}
    assert average["free-adapter-plus"]["concept_preservation"] > average["mllm"]["concept_preservation"] + 1
    assert average["mllm"]["prompt_following"] > average["free-adapter-plus"]["prompt_following"] + 2


def test_the_teacher_reads_the_text_and_agrees_with_the_latent_quality():
    samples = personalised.make_samples(420, 5, "new_prompts")
    teacher = [teacher_scores(sample) for sample in samples]
    latent = [personalised.quality(sample.task, sample.scene) for sample in samples]
    for aspect in ASPECTS:
        rho = spearmanr([t[aspect] for t in teacher], [q[aspect] for q in latent]).statistic
        assert 0.85 < rho < 0.99, (aspect, rho)
        assert any(abs(t[aspect] - q[aspect]) > 1 for t, q in zip(teacher, latent))


def test_questions_survive_the_students_lines():
    for sample in personalised.make_samples(30, 2):
        questions = personalised_rules.decompose(sample.task.text)
        assert from_lines(to_lines(questions)) == questions
        assert "reference" not in sample.task.text


def test_traits_are_told_as_seen_and_wanted_as_in_the_reference():
    for sample in personalised.make_samples(42, 4):
        reference, subject = sample.task.reference, sample.subject
        questions = personalised_rules.decompose(sample.task.text)
        traits = {q.text.split()[1]: q for q in questions if q.expected == AS_IN_REFERENCE}
        assert list(traits) == ["shape", "color", "texture"]
        for trait, question in traits.items():
            answer = personalised_rules.answer(sample.scene, reference, question)
            assert answer.text == getattr(subject, trait)
            assert answer.matches == (answer.text == (getattr(reference, trait) or "plain")) == (answer.score == 10)


def test_the_prompt_is_asked_about_in_its_own_order():
    questions = personalised_rules.decompose("two small subjects above a red star which is below two blue circles")
    assert [(q.text, q.expected) for q in questions[:4]] == [
        ("How many subjects are there?", "two"),
        ("What size is the subject?", "small"),
        ("Where is the subject, seen from the star?", "above"),
        ("Is there a star?", "yes"),
    ]
    assert questions[2].depends_on == ("q4",)
    assert [q.aspect for q in questions[-4:]] == ["concept_preservation"] * 4
