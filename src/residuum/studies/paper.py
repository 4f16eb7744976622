"""The paper's numbers, to stand beside ours: He, Zhang, Ren, Sun 2015 (arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Mapping

RESNET_TEST_ERROR: Mapping[int, str] = {20: "8.75", 32: "7.51", 44: "7.17", 56: "6.97", 110: "6.43", 1202: "7.93"}
"""Table 6: test error on CIFAR-10 in percent, by layers; 110: 6.61 ± 0.16 over five runs."""
PLAIN_TEST_ERROR: Mapping[int, str] = {
    20: "about 9.5",
    32: "about 10",
    44: "about 12",
    56: "about 13.5",
    110: "over 60",
}
"""Read off Fig. 6 (left), in percent."""
SHORTCUTS: Mapping[str, str] = {"none": "28.54 / 10.02", "A": "25.03 / 7.76", "B": "24.52 / 7.46", "C": "24.19 / 7.40"}
"""Table 3: 34 layers on ImageNet, 10-crop top-1 / top-5 error in percent."""
CROPS: Mapping[str, str] = {"center": "24.7 / 7.8", "ten-crop": "22.85 / 6.71", "multi-scale": "20.74 / 5.25"}
"""ResNet-50 on ImageNet, top-1 / top-5 error in percent: the authors' released network by one crop, Tables 3 and 4."""
