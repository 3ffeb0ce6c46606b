// A depthwise convolution.
#pragma once

struct Shape {
    int height, width, channels, kernel, stride, pad, out_height, out_width;
};
