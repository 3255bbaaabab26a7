#!/bin/sh
# Rebuild the weights that ship with the project, and all their reported scores:
#
#     DATA=… ENCODER=… PHOTOGRAPHS=… SCANS=… sh vlm/weights/tiny.sh runs/tiny
#
# DATA holds nih/ (NIH ChestX-ray14), adult_normals/ (normal X-rays of the RSNA pneumonia challenge: labels.csv with the
# columns image and label, and images/), pneumonia/ (Kermany et al.) and, for a test only, iu_xray/ (Open-i). ENCODER is a
# ViT-S/14 of DINOv2's architecture. PHOTOGRAPHS and SCANS are folders of images that are no chest X-rays, for the
# out-of-distribution check (docs/LOG.md).
# It takes some hours on two cores. Finished steps are skipped; RESUME=--resume resumes an interrupted training.
set -eu
: "${DATA:?}" "${ENCODER:?}" "${PHOTOGRAPHS:?}" "${SCANS:?}"
run=$1
here=$(dirname "$0")
launch="accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
  --num_cpu_threads_per_process ${THREADS:-2}"
finetune="$launch train/finetune.py --num-workers 0 --precision ${PRECISION:-fp32} ${RESUME:-}"

# Data: synthetic studies; X-rays of adults (NIH's labels, and normal ones) and of children (pneumonia or normal). All
# real images are stored at the same size, so that their sharpness does not tell their source.
synthetic() {
  test -d "$run/$1" || python -m data.prepare synthetic --num-studies "$2" --seed "$3" --split-fractions "$4" "$5" "$6" \
    --prior-fraction "${7:-0}" --out "$run/$1"
}
synthetic synthetic_8000 8000 11 0.9 0.05 0.05
synthetic synthetic_20000 20000 11 0.95 0.025 0.025
synthetic synthetic_test 2000 12 0.7 0.1 0.2  # the other two overlap, so the tests are of studies of their own
synthetic compared_20000 20000 11 0.95 0.025 0.025 0.7  # the images of synthetic_20000, most with a prior study
synthetic pairs 6000 31 0.95 0.05 0 0.7
synthetic more_pairs 8000 33 0.99 0.005 0.005 1
synthetic compared_8000 8000 11 0.9 0.05 0.05 0.7  # the images of synthetic_8000
synthetic pairs_test 500 32 0.1 0.1 0.8 1
test -d "$run/nih" || python -m data.prepare nih --root "$DATA/nih" --max-side 224 --out "$run/nih"
test -d "$run/pneumonia" || python -m data.prepare kermany --root "$DATA/pneumonia" --max-side 224 \
  --split-fractions 0.8 0.08 0.12 --out "$run/pneumonia"
# Some of the normal X-rays are copies of images of nih/, under another name: they are left out (docs/LOG.md).
grep -vFf "$here/tiny_left_out.txt" "$DATA/adult_normals/labels.csv" > "$run/adult_normals.csv"
test -d "$run/adult_normals" || python -m data.prepare table "$run/adult_normals.csv" \
  --image-root "$DATA/adult_normals/images" --label-column label --label-map "$here/tiny_normal.json" \
  --source-name rsna_normals --license "NIH: free use with citation" --split-fractions 0.9 0.05 0.05 --out "$run/adult_normals"
join() {
  # shellcheck disable=SC2086
  test -d "$run/$1" || python -m data.join --datasets "$run/$2" "$run/pneumonia" "$run/adult_normals" "$run/nih" \
    --take-train $3 --out "$run/$1"
}
join few synthetic_8000 "1500 800 800 all"
join many synthetic_8000 "5500 2600 all all"
join tuning synthetic_20000 "4000 1500 1000 all"
join more synthetic_20000 "8000 1500 1000 all"
join reports synthetic_20000 "all 2600 all all"
join compared compared_20000 "all 2600 all all"
join sizes synthetic_8000 "4000 1500 1000 all"
join more_sizes synthetic_8000 "all 1500 1000 all"
join compared_sizes compared_8000 "all 1500 1000 all"

# A first decoder, so that the encoder can stay frozen while the finding queries learn on its saved features. They learn
# on few synthetic studies and children, so that the adults count.
test -d "$run/text" || $launch train/pretrain.py text --datasets "$run/few" --output-dir "$run/text" --decoder nano \
  --vocab-size 1000 --batch-size 32 --num-epochs 1 --learning-rate 2e-3 --num-workers 0
test -d "$run/findings/best" || $finetune --dataset "$run/few" --output-dir "$run/findings" --encoder "$ENCODER" \
  --encoder-layers 6 --decoder "$run/text" --pool 4 --linear-probe --feature-cache "$run/features" \
  --batch-size 32 --learning-rate 1e-3 --findings-epochs 8 --num-epochs 8

# The decoder learns, without images, to write what the labels say.
test -d "$run/base/best" || $finetune --dataset "$run/many" --output-dir "$run/base" --init-from "$run/findings" \
  --no-lora --freeze-after-findings --feature-cache "$run/features" --num-validation-reports 150 \
  --decide-findings --batch-size 32 --learning-rate 2e-3 --text-only-epochs 8 --num-epochs 8

# The encoder is fine-tuned with a low learning rate; a high one learned the noise of the adults' labels (docs/LOG.md).
test -d "$run/tuned/best" || $finetune --dataset "$run/tuning" --output-dir "$run/tuned" --init-from "$run/base" --no-lora \
  --learning-rate 1e-4 --encoder-learning-rate 2e-5 --batch-size 32 --findings-epochs 2 --num-epochs 2 \
  --augmentation.max-rotation 7 --augmentation.max-shift 0.05 --augmentation.max-zoom 0.05 --augmentation.max-shear 5 \
  --augmentation.max-brightness 0.1 --augmentation.max-contrast 0.2

# Finding queries and severities learn from more studies on saved features; then the decoder learns to state severities.
test -d "$run/severities/best" || $finetune --dataset "$run/more" --output-dir "$run/severities" --init-from "$run/tuned" \
  --feature-cache "$run/features" --batch-size 32 --learning-rate 7e-4 --findings-epochs 1 --num-epochs 1
test -d "$run/reports_text/best" || $finetune --dataset "$run/reports" --output-dir "$run/reports_text" --init-from "$run/severities" \
  --no-lora --freeze-after-findings --feature-cache "$run/features" --num-validation-reports 150 \
  --decide-findings --batch-size 32 --learning-rate 1e-3 --text-only-epochs 1 --num-epochs 1

# The change of each finding since a prior study is learned from pairs of drawings; then the decoder learns to state it.
test -d "$run/changes/best" || $finetune --dataset "$run/pairs" --extra-dataset "$run/more_pairs" \
  --output-dir "$run/changes" --init-from "$run/reports_text" --no-lora --prior only --feature-cache "$run/features" \
  --batch-size 32 --learning-rate 1e-3 --findings-epochs 4 --num-epochs 4
test -d "$run/compares/best" || $finetune --dataset "$run/compared" --extra-dataset "$run/pairs" --output-dir "$run/compares" \
  --init-from "$run/changes" --no-lora --freeze-after-findings --feature-cache "$run/features" \
  --num-validation-reports 100 --decide-findings --batch-size 32 --learning-rate 2e-3 --text-only-epochs 6 --num-epochs 6

# Sizes of findings: the encoder learns from severities too, with a low learning rate; then finding queries, severities
# and changes learn again on saved features, and the decoder from the reports. (The weights that ship came here from
# drawings whose degrees were harder to see; docs/LOG.md.)
test -d "$run/sizes_tuned/best" || $finetune --dataset "$run/sizes" --output-dir "$run/sizes_tuned" \
  --init-from "$run/compares" --no-lora --severity-weight 2 --learning-rate 1e-4 --encoder-learning-rate 2e-5 \
  --batch-size 16 --findings-epochs 2 --num-epochs 2 --precision bf16 \
  --augmentation.max-rotation 7 --augmentation.max-shift 0.05 --augmentation.max-zoom 0.05 --augmentation.max-shear 5 \
  --augmentation.max-brightness 0.1 --augmentation.max-contrast 0.2
test -d "$run/sizes_7/best" || $finetune --dataset "$run/more_sizes" --output-dir "$run/sizes_7" \
  --init-from "$run/sizes_tuned" --feature-cache "$run/features" --batch-size 32 --learning-rate 7e-4 \
  --findings-epochs 3 --num-epochs 3 --precision bf16
test -d "$run/sizes_5/best" || $finetune --dataset "$run/more_sizes" --output-dir "$run/sizes_5" \
  --init-from "$run/sizes_7" --feature-cache "$run/features" --batch-size 32 --learning-rate 5e-4 \
  --findings-epochs 5 --num-epochs 5 --precision bf16
test -d "$run/sizes_changes/best" || $finetune --dataset "$run/pairs" --extra-dataset "$run/compared_8000" \
  --output-dir "$run/sizes_changes" --init-from "$run/sizes_5" --no-lora --prior only --feature-cache "$run/features" \
  --batch-size 32 --learning-rate 1e-3 --findings-epochs 3 --num-epochs 3 --precision bf16
test -d "$run/sizes_text/best" || $finetune --dataset "$run/compared_sizes" --extra-dataset "$run/pairs" \
  --output-dir "$run/sizes_text" --init-from "$run/sizes_changes" --no-lora --freeze-after-findings \
  --feature-cache "$run/features" --num-validation-reports 100 --decide-findings --batch-size 32 --learning-rate 5e-4 \
  --text-only-epochs 1 --num-epochs 1 --precision bf16

# The mean of the weights before and after these steps keeps more of what they knew of real X-rays. On its features the
# finding queries learn twice, and the mean of all four is kept; then changes and text as before.
mean="$finetune --dataset $run/sizes --init-from $run/compares --average-with $run/sizes_text --feature-cache \
  $run/features --batch-size 32 --findings-epochs 6 --num-epochs 6 --precision bf16"
test -d "$run/mean/best" || $mean --output-dir "$run/mean" --learning-rate 7e-4
test -d "$run/mean_boxes/best" || $mean --output-dir "$run/mean_boxes" --learning-rate 4e-4 --box-weight 1.5 --seed 7
test -d "$run/mean_changes/best" || $finetune --dataset "$run/pairs" --extra-dataset "$run/compared_8000" \
  --output-dir "$run/mean_changes" --init-from "$run/mean" \
  --average-with "$run/mean_boxes" "$run/compares" "$run/sizes_text" --no-lora --prior only \
  --feature-cache "$run/features" --batch-size 32 --learning-rate 1e-3 --findings-epochs 3 --num-epochs 3 \
  --precision bf16
test -d "$run/final/merged" || $finetune --dataset "$run/compared_sizes" --extra-dataset "$run/pairs" \
  --output-dir "$run/final" --init-from "$run/mean_changes" --no-lora --freeze-after-findings \
  --feature-cache "$run/features" --num-validation-reports 100 --decide-findings --batch-size 32 --learning-rate 5e-4 \
  --text-only-epochs 1 --num-epochs 1 --precision bf16 --merge --merge-precision fp16

# A linear classifier of the findings, learned from real X-rays alone, is mixed in: it ranks some findings of adults
# better. The thresholds are chosen with it. (The weights that ship came here from those of before; docs/LOG.md.)
synthetic synthetic_views 1000 13 0.7 0.3 0
test -d "$run/linear_data" || python -m data.join --datasets "$run/synthetic_views" "$run/pneumonia" \
  "$run/adult_normals" "$run/nih" --take-train 0 900 all all --out "$run/linear_data"
test -d "$run/linear" || python -m train.fit_probe --checkpoint "$run/final/merged" --dataset "$run/linear_data" \
  --output-dir "$run/linear" --save-precision fp16

rm -rf vlm/weights/tiny
cp -r "$run/linear" vlm/weights/tiny

# The check of the view is fitted with more real X-rays than a sample of the training images has.
test -d "$run/views" || python -m data.join --datasets "$run/synthetic_views" "$run/pneumonia" "$run/nih" \
  --take-train all 300 400 --out "$run/views"
python -m train.fit_ood --checkpoint vlm/weights/tiny --dataset "$run/views" --only-views

# Evaluation on test splits, which were not used for training or selection.
test -d "$run/real" || python -m data.join --datasets "$run/pneumonia" "$run/adult_normals" "$run/nih" --out "$run/real"
evaluate() {
  python eval/batch.py --dataset "$run/$1" --split "${3:-test}" --output-dir "$run/evaluation_$1" --neighbor-pool 1500
  cp "$run/evaluation_$1/metrics.json" "docs/results/tiny_on_$2.json"
}
evaluate synthetic_test synthetic_studies
evaluate pneumonia real_pneumonia_X-rays
evaluate nih X-rays_of_adults_from_NIH
evaluate real all_real_X-rays
evaluate pairs_test synthetic_studies_with_a_prior_study
# Nothing was trained on X-rays of Indiana, so these are the tests in another hospital: of frontal views, and with the
# lateral views. (R2Gen's test split was kept back.)
iu=$DATA/iu_xray
mkdir -p "$run/iu_frontal"
cp -r "$iu/images_normalized" "$iu/indiana_reports.csv" "$run/iu_frontal"
grep -v ',Lateral' "$iu/indiana_projections.csv" > "$run/iu_frontal/indiana_projections.csv"
indiana() {
  test -d "$run/$1" || python -m data.prepare open_i --root "$2" --annotation "$iu/annotation.json" --unlisted train \
    --out "$run/$1"
}
indiana indiana_frontal "$run/iu_frontal"
indiana indiana "$iu"
evaluate indiana_frontal frontal_X-rays_of_another_hospital validation
evaluate indiana X-rays_of_another_hospital_with_lateral_views validation
for program in statements linear_probe; do
  python -m eval.probes.$program --dataset "$run/pneumonia" --split test --statements bacterial viral \
    --output "docs/results/tiny_bacterial_vs_viral_$program.json"
done
python -m eval.probes.ood --datasets "$run/nih" "$run/adult_normals" "$run/pneumonia" "$run/synthetic_test" \
  --others "$PHOTOGRAPHS" "$SCANS" --output docs/results/tiny_out-of-distribution_check.json
python -m eval.probes.view_check --datasets "$run/nih" "$run/adult_normals" "$run/pneumonia" "$run/synthetic_test" \
  --output docs/results/tiny_check_of_the_view.json
python -m eval.probes.findings --dataset "$run/nih" --split validation \
  --output docs/results/NIH_classifier_beside_logistic_regression.json

# What eight candidates and int8 change.
compare() {
  python eval/batch.py --dataset "$run/$2" --split test --output-dir "$run/$1_$2" --controls "$6" "$7"
  python -m eval.compare "$run/$1_$2/predictions.jsonl" "$run/evaluation_$2/predictions.jsonl" \
    "$run/evaluation_$2/predictions.jsonl" --names "$3" "$4" --output "docs/results/$5.json"
}
eight() { compare eight "$1" "8 candidates" greedy "eight_candidates_on_$2" --num-candidates 8; }
int8() { compare int8 "$1" int8 fp32 "int8_on_$2" --precision int8; }
eight synthetic_test synthetic_test
eight pairs_test synthetic_studies_with_a_prior_study
eight pneumonia real_pneumonia_X-rays
eight nih X-rays_of_adults_from_NIH
int8 synthetic_test synthetic_test
int8 real all_real_X-rays
python -m eval.report.results
python -m eval.report.model_card --checkpoint vlm/weights/tiny --results docs/results/tiny_*.json \
  --recipe vlm/weights/tiny.sh --notes vlm/weights/tiny_notes.md
