#!/bin/sh
# Rebuild the weights that ship with the project, and all their reported scores:
#
#     PNEUMONIA=../shared/data/pneumonia sh vlm/weights/tiny.sh runs/tiny
#
# PNEUMONIA is the folder of the chest X-rays of Kermany et al. (CC BY 4.0), as published or with a labels.csv. It takes
# about an hour on one core with bf16. Finished steps are skipped; RESUME=--resume resumes an interrupted training.
set -eu
run=$1
launch="accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
  --num_cpu_threads_per_process ${THREADS:-2}"
training="--dataset $run/studies --extra-dataset $run/pneumonia --precision ${PRECISION:-bf16} --num-workers 0 \
  --image-cache-gib 3 --augmentation.max-rotation 7 --augmentation.max-shift 0.05 --augmentation.max-zoom 0.05 \
  --augmentation.max-shear 5 --augmentation.max-brightness 0.1 --augmentation.max-contrast 0.2 --view-dropout 0.2 \
  --num-validation-reports 300 ${RESUME:-}"

# Data: 22,400 synthetic studies, and the real pneumonia X-rays with reports composed from their labels.
test -d "$run/synthetic" || python -m data.prepare synthetic --num-studies 22400 --seed 11 \
  --split-fractions 0.9 0.05 0.05 --out "$run/synthetic"
test -d "$run/pneumonia" || python -m data.prepare kermany --root "$PNEUMONIA" \
  --split-fractions 0.8 0.08 0.12 --out "$run/pneumonia"
test -d "$run/studies" || python -m data.join --datasets "$run/synthetic" "$run/pneumonia" --out "$run/studies"

# Base model: the encoder is trained on findings and their locations, then the decoder, without images, to write a report
# that is conditioned on them.
test -d "$run/base/best" || $launch train/finetune.py $training --output-dir "$run/base" \
  --encoder cnn --decoder nano --no-lora --image-size 160 --vocab-size 1000 \
  --batch-size 32 --learning-rate 2e-3 --num-epochs 7 --findings-epochs 4 --text-only-epochs 3

# Report model: LoRA training on images adds what is not in the labels: degree, extent, wording.
test -d "$run/reports/merged" || $launch train/finetune.py $training --output-dir "$run/reports" \
  --init-from "$run/base/best" --extra-repeats 2 --lora-settings.dropout 0 --batch-size 16 --learning-rate 7e-4 \
  --num-epochs 1 --merge

rm -rf vlm/weights/tiny vlm/weights/tiny-base
cp -r "$run/reports/merged" vlm/weights/tiny
cp -r "$run/base/best" vlm/weights/tiny-base

# Evaluation on test splits, which were not used for training or selection.
python eval/batch.py --dataset "$run/synthetic" --split test --output-dir "$run/evaluation_synthetic"
python eval/batch.py --dataset "$run/pneumonia" --split test --output-dir "$run/evaluation_pneumonia"
cp "$run/evaluation_synthetic/metrics.json" docs/results/tiny_on_synthetic_studies.json
cp "$run/evaluation_pneumonia/metrics.json" docs/results/tiny_on_real_pneumonia_X-rays.json
for program in statements linear_probe; do
  python -m eval.probes.$program --dataset "$run/pneumonia" --split test --statements bacterial viral \
    --output "docs/results/tiny_bacterial_vs_viral_$program.json"
done
python -m eval.report.results
python -m eval.report.model_card --checkpoint vlm/weights/tiny --results docs/results/tiny_*.json \
  --recipe vlm/weights/tiny.sh --notes vlm/weights/tiny_notes.md
