/* Compares two aligned face crops on the engine.

       ./facelet_host a.ppm b.ppm            distance and verdict
       ./facelet_host --check                check.ppm against the integers of check.txt

   Options before the files:

       --model FILE      weights and layer table, model.bin without it; any model that was exported for this engine
       --program FILE    engine.aocx, engine.xclbin, or engine.cl, which is built on the spot; engine.cl without it
       --device TEXT     part of the name of a platform or device, or one of Python's names: pocl, pocl-3.0, intel,
                         intel-fpga; FACELET_OPENCL_DEVICE, or the first, without it
       --integers        also print the integers of both embeddings

   FACELET_OPENCL_LIB names the OpenCL library where the system's loader is not wanted. */

#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cl_min.h"
#include "engine_config.h"

typedef std::vector<signed char> Bytes;

static void fail(const std::string &what) { throw std::runtime_error(what); }

static void check(cl_int status, const char *what) {
    if (status != CL_SUCCESS) fail(std::string(what) + ": OpenCL error " + std::to_string(status));
}

static std::string read_file(const std::string &path) {
    std::ifstream file(path.c_str(), std::ios::binary);
    if (!file) fail(path + ": cannot be read");
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

/* Named parts of model.bin: "FACELET1", then name (16 bytes), size (8 bytes, little endian) and content of each. */
struct Model {
    std::map<std::string, std::string> parts;
    std::map<std::string, double> facts;

    explicit Model(const std::string &from) : path(from) {
        const std::string all = read_file(path);
        if (all.compare(0, 8, "FACELET1") != 0) fail(path + ": no exported model; make it with: facelet fpga export");
        for (size_t at = 8; at < all.size();) {
            if (all.size() - at < 24) fail(path + ": cut off");
            const std::string name = all.substr(at, 16).c_str();
            uint64_t size = 0;
            for (int b = 7; b >= 0; b--) size = size << 8 | static_cast<unsigned char>(all[at + 16 + b]);
            at += 24;
            if (size > all.size() - at) fail(path + ": cut off");
            parts[name] = all.substr(at, size);
            at += size;
        }
        std::istringstream lines(parts["facts"]);
        std::string name;
        for (double value; lines >> name >> value;) facts[name] = value;
        fits("VEC_SIZE", VEC_SIZE, true);
        fits("LANE_NUM", LANE_NUM, true);
        fits("DW_LANES", DW_LANES, true);
        fits("GP", GP, false);
        fits("WEIGHT_VECTORS", WEIGHT_VECTORS, false);
        fits("WINDOW_VECTORS", WINDOW_VECTORS, false);
        fits("NARROW_VECTORS", NARROW_VECTORS, false);
        fits("NARROW_TAPS", NARROW_TAPS, false);
        whole();
    }

    double fact(const std::string &name) const {
        std::map<std::string, double>::const_iterator found = facts.find(name);
        if (found == facts.end()) fail(path + ": damaged, without the fact " + name);
        return found->second;
    }

    /* A fact that counts something. */
    int number(const std::string &name) const {
        const double value = fact(name);
        if (!(value >= 0 && value <= INT_MAX)) fail(path + ": damaged in the fact " + name);
        return static_cast<int>(value);
    }

    const std::string &part(const std::string &name, size_t at_least = 0) const {
        std::map<std::string, std::string>::const_iterator found = parts.find(name);
        if (found == parts.end() || found->second.size() < at_least) fail(path + ": damaged in the part " + name);
        return found->second;
    }

    template <typename Item> std::vector<Item> array(const std::string &name, size_t count) const {
        const std::string &raw = part(name, count * sizeof(Item));
        std::vector<Item> items(count);
        if (count) std::memcpy(items.data(), raw.data(), count * sizeof(Item));
        return items;
    }

private:
    const std::string path;

    /* Every part is there and holds what the host reads of it. */
    void whole() const {
        for (const char *name : {"dense_weights", "narrow_weights", "params"}) part(name);
        part("table", number("layers") * sizeof(layer_t));
        part("lookup", 3 * 256);
        for (unsigned char channel : part("color", 3).substr(0, 3))
            if (channel >= 3) fail(path + ": damaged in the part color");
        const int bytes = number("output_bytes");
        for (int32_t place : array<int32_t>("places", number("embedding_size")))
            if (place < 0 || place >= bytes) fail(path + ": damaged in the part places");
    }

    void fits(const char *name, int engine, bool exactly) const {
        const int needed = number(name);
        if (exactly ? needed != engine : needed > engine)
            fail(path + ": needs " + name + " " + std::to_string(needed) + ", the engine has " + std::to_string(engine));
    }
};

struct KernelInfo {
    const char *name;
    int kinds; /* bits of the kinds of layer that it works on */
    const char *buffer;
    std::vector<const char *> queues;
};

static const int ON_DENSE = 1 << DENSE, ON_DEPTHWISE = 1 << DEPTHWISE, ON_POOL = 1 << POOL;

static std::vector<KernelInfo> kernel_infos() {
    std::vector<KernelInfo> all = {
        {"read_dense", ON_DENSE, "arena", {"densefeed", "denseresidual"}},
        {"read_narrow", ON_DEPTHWISE | ON_POOL, "arena", {"depthfeed", "depthresidual", "poolfeed"}},
        {"dense", ON_DENSE, NULL, {"densefeed", "densesums"}},
        {"depthwise", ON_DEPTHWISE, NULL, {"depthfeed", "depthsums"}},
        {"pool", ON_POOL, NULL, {"poolfeed", "pooled"}},
        {"post", ON_DENSE | ON_DEPTHWISE, "params",
         {"densesums", "denseresidual", "depthsums", "depthresidual", "finished"}},
        {"write_maps", ON_DENSE | ON_DEPTHWISE | ON_POOL, "arena", {"finished", "pooled"}},
    };
    if (DW_LANES == 0) all.erase(all.begin() + 3);
    return all;
}

class Engine {
public:
    Engine(const Model &net, const std::string &wanted, const std::string &program) : model(net) {
        const char *missing = cl_min_open(std::getenv("FACELET_OPENCL_LIB"));
        if (missing) {
            const char *why = dlerror();
            fail(std::string(missing) + ": cannot be used (" + (why ? why : "not found") +
                 "); name the OpenCL library in FACELET_OPENCL_LIB");
        }
        choose(wanted);
        cl_int status;
        context = clCreateContext(NULL, 1, &device, NULL, NULL, &status);
        check(status, "context");
        const bool source = program.size() > 3 && program.compare(program.size() - 3, 3, ".cl") == 0;
        channels = !source || platform.find("FPGA") != std::string::npos;
        build(program, source);
        infos = kernel_infos();
        cl_command_queue queue = NULL;
        for (size_t i = 0; i < infos.size(); i++) {
            kernels.push_back(clCreateKernel(built, infos[i].name, &status));
            check(status, infos[i].name);
            if (channels || !queue) queue = clCreateCommandQueue(context, device, 0, &status);
            check(status, "queue");
            queues.push_back(queue);
        }
        allocate();
        for (size_t i = 0; i < infos.size(); i++) set_arguments(i);
    }

    /* The integers of an image's embedding. */
    Bytes run(const Bytes &image) {
        cl_command_queue queue = queues.back();
        check(clEnqueueWriteBuffer(queue, buffers["arena"], CL_TRUE, model.number("input_offset"), image.size(),
                                   image.data(), 0, NULL, NULL),
              "write the image");
        check(clFinish(queue), "write the image"); /* Intel's emulator comes back from blocking copies too early */
        const int layers = model.number("layers");
        const std::vector<layer_t> table = model.array<layer_t>("table", layers);
        if (channels) {
            launch(0, layers, ON_DENSE | ON_DEPTHWISE | ON_POOL);
        } else {
            for (int l = 0; l < layers; l++) launch(l, l + 1, 1 << table[l].kind);
        }
        for (size_t i = 0; i < queues.size(); i++) check(clFinish(queues[i]), "finish");
        Bytes raw(model.number("output_bytes"));
        check(clEnqueueReadBuffer(queue, buffers["arena"], CL_TRUE, model.number("output_offset"), raw.size(),
                                  raw.data(), 0, NULL, NULL),
              "read the embedding");
        check(clFinish(queue), "read the embedding");
        Bytes out(model.number("embedding_size"));
        const std::vector<int32_t> places = model.array<int32_t>("places", out.size());
        for (size_t i = 0; i < out.size(); i++) out[i] = raw[places[i]];
        return out;
    }

    std::string name() const { return platform + ", " + hardware; }

private:
    static std::string text(cl_platform_id of, cl_uint what) {
        char said[512] = "";
        clGetPlatformInfo(of, what, sizeof said - 1, said, NULL);
        return said;
    }

    static std::string text(cl_device_id of) {
        char name[512] = "";
        clGetDeviceInfo(of, CL_DEVICE_NAME, sizeof name - 1, name, NULL);
        return name;
    }

    /* Whether the device in hand goes by a name: part of its own, or what Python (facelet devices) calls it. */
    bool goes_by(const std::string &wanted, const std::string &version) const {
        const bool pocl = platform == "Portable Computing Language";
        if (wanted == "pocl") return pocl;
        if (wanted.compare(0, 5, "pocl-") == 0)
            return pocl && version.find("PoCL " + wanted.substr(5)) != std::string::npos;
        if (wanted == "intel") return platform == "Intel(R) OpenCL";
        if (wanted == "intel-fpga") return platform.find("FPGA") != std::string::npos;
        return name().find(wanted) != std::string::npos;
    }

    void choose(const std::string &wanted) {
        cl_platform_id platforms[32];
        cl_uint count = 0;
        std::string seen;
        if (clGetPlatformIDs(32, platforms, &count) != CL_SUCCESS) count = 0;
        for (cl_uint p = 0; p < count && p < 32; p++) {
            cl_device_id devices[32];
            cl_uint found = 0;
            if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 32, devices, &found) != CL_SUCCESS) continue;
            for (cl_uint d = 0; d < found && d < 32; d++) {
                platform = text(platforms[p], CL_PLATFORM_NAME);
                hardware = text(devices[d]);
                device = devices[d];
                if (goes_by(wanted, text(platforms[p], CL_PLATFORM_VERSION))) return;
                seen += (seen.empty() ? "" : "; ") + name();
            }
        }
        fail("no OpenCL device" + (wanted.empty() ? "" : " of the name '" + wanted + "'") +
             (seen.empty() ? "" : "; there: " + seen));
    }

    void build(const std::string &path, bool source) {
        const std::string content = read_file(path);
        cl_int status, loaded = CL_SUCCESS;
        if (source) {
            const size_t slash = path.rfind('/');
            const std::string config = (slash == std::string::npos ? "" : path.substr(0, slash + 1)) + "engine_config.h";
            /* an emulator's threads change places where a channel is full or empty, so there it gets deep channels */
            const std::string before = channels ? "#define FACELET_CHANNELS\n#define CHANNEL_DEPTH 16384\n" : "\n";
            const std::string text = before + read_file(config) + content;
            const char *start = text.c_str();
            built = clCreateProgramWithSource(context, 1, &start, NULL, &status);
        } else {
            const size_t size = content.size();
            const unsigned char *start = reinterpret_cast<const unsigned char *>(content.data());
            built = clCreateProgramWithBinary(context, 1, &device, &size, &start, &loaded, &status);
        }
        check(status, path.c_str());
        check(loaded, path.c_str());
        if (clBuildProgram(built, 1, &device, "", NULL, NULL) != CL_SUCCESS) {
            std::vector<char> log(1 << 16);
            clGetProgramBuildInfo(built, device, CL_PROGRAM_BUILD_LOG, log.size() - 1, log.data(), NULL);
            fail(path + ": cannot be built\n" + log.data());
        }
    }

    void add_buffer(const std::string &name, size_t size, const std::string *content) {
        cl_int status;
        const std::string filled = content && !content->empty() ? *content : std::string(size ? size : 1, '\0');
        buffers[name] = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, filled.size(),
                                       const_cast<char *>(filled.data()), &status);
        check(status, name.c_str());
    }

    void allocate() {
        const char *given[] = {"table", "dense_weights", "narrow_weights", "params"};
        for (const char *name : given) add_buffer(name, 1, &model.part(name));
        add_buffer("arena", model.number("arena_bytes"), NULL);
        add_buffer("counts", sizeof(cl_int) * N_COUNTS * model.number("layers"), NULL);
        for (const KernelInfo &info : infos)
            for (const char *queue : info.queues)
                if (!channels && !buffers.count(queue)) add_buffer(queue, model.number(std::string("queue.") + queue), NULL);
    }

    void argument(size_t kernel, cl_uint index, size_t size, const void *value) {
        check(clSetKernelArg(kernels[kernel], index, size, value), infos[kernel].name);
    }

    /* Table, first layer, the one after the last, counts; then the kernel's own buffers and queues. */
    void set_arguments(size_t kernel) {
        std::vector<std::string> own;
        const KernelInfo &info = infos[kernel];
        if (info.buffer) own.push_back(info.buffer);
        if (!std::strcmp(info.name, "read_dense")) own.push_back("dense_weights");
        if (!std::strcmp(info.name, "read_narrow")) own.push_back("narrow_weights");
        if (!channels) own.insert(own.end(), info.queues.begin(), info.queues.end());
        argument(kernel, 0, sizeof(cl_mem), &buffers["table"]);
        argument(kernel, 3, sizeof(cl_mem), &buffers["counts"]);
        for (size_t i = 0; i < own.size(); i++) argument(kernel, 4 + i, sizeof(cl_mem), &buffers[own[i]]);
    }

    void launch(cl_int begin, cl_int end, int kinds) {
        const size_t one = 1;
        for (size_t i = 0; i < infos.size(); i++) {
            if (!(infos[i].kinds & kinds)) continue;
            argument(i, 1, sizeof begin, &begin);
            argument(i, 2, sizeof end, &end);
            check(clEnqueueNDRangeKernel(queues[i], kernels[i], 1, NULL, &one, &one, 0, NULL, NULL), infos[i].name);
            check(clFlush(queues[i]), infos[i].name);
        }
    }

    const Model &model;
    std::string platform, hardware;
    cl_device_id device = NULL;
    cl_context context = NULL;
    cl_program built = NULL;
    bool channels = false;
    std::vector<KernelInfo> infos;
    std::vector<cl_kernel> kernels;
    std::vector<cl_command_queue> queues;
    std::map<std::string, cl_mem> buffers;
};

/* A binary PPM (P6, 8 bits) of the network's size as the network's integers, in the engine's layout. */
static Bytes read_image(const std::string &path, const Model &model) {
    const std::string all = read_file(path);
    if (all.compare(0, 2, "P6") != 0) fail(path + ": no binary PPM (P6)");
    int header[3], found = 0;
    size_t at = 2;
    while (found < 3 && at < all.size()) {
        if (all[at] == '#') {
            while (at < all.size() && all[at] != '\n') at++;
        } else if (all[at] >= '0' && all[at] <= '9') {
            int value = 0;
            for (; at < all.size() && all[at] >= '0' && all[at] <= '9' && value < 1000000; at++)
                value = 10 * value + (all[at] - '0');
            header[found++] = value;
        } else {
            at++;
        }
    }
    at++; /* one space after the last number */
    const int height = model.number("height"), width = model.number("width"), blocks = model.number("input_blocks");
    if (found < 3 || header[2] != 255) fail(path + ": no 8-bit PPM");
    if (header[0] != width || header[1] != height)
        fail(path + ": is " + std::to_string(header[0]) + " x " + std::to_string(header[1]) + "; the network takes " +
             std::to_string(width) + " x " + std::to_string(height) + ", make such a crop with: facelet align");
    if (all.size() < at + size_t(3) * height * width) fail(path + ": cut off");
    const std::string &lookup = model.part("lookup"), &color = model.part("color");
    Bytes out(size_t(blocks) * height * width * VEC_SIZE, 0);
    for (int c = 0; c < 3; c++)
        for (int p = 0; p < height * width; p++) {
            const unsigned char pixel = all[at + 3 * p + color[c]];
            out[(size_t(c / VEC_SIZE) * height * width + p) * VEC_SIZE + c % VEC_SIZE] = lookup[256 * c + pixel];
        }
    return out;
}

/* Squared Euclidean distance of two embeddings of length 1. */
static double distance(const Bytes &a, const Bytes &b) {
    double aa = 0, bb = 0, ab = 0;
    for (size_t i = 0; i < a.size(); i++) {
        aa += double(a[i]) * a[i];
        bb += double(b[i]) * b[i];
        ab += double(a[i]) * b[i];
    }
    if (aa == 0 || bb == 0) fail("an embedding is zero and points nowhere");
    return 2 - 2 * ab / std::sqrt(aa * bb);
}

static std::string words(const Bytes &integers) {
    std::string out;
    for (size_t i = 0; i < integers.size(); i++) out += (i ? " " : "") + std::to_string(int(integers[i]));
    return out;
}

static int run(int argc, char **argv) {
    std::string model_path = "model.bin", program = "engine.cl", device;
    if (const char *name = std::getenv("FACELET_OPENCL_DEVICE")) device = name;
    bool integers = false, checking = false;
    std::vector<std::string> files;
    for (int i = 1; i < argc; i++) {
        const std::string option = argv[i];
        std::string *value = option == "--model" ? &model_path : option == "--program" ? &program
                             : option == "--device" ? &device : NULL;
        if (value && ++i == argc) fail(option + ": needs a value");
        if (value) *value = argv[i];
        else if (option == "--integers") integers = true;
        else if (option == "--check") checking = true;
        else if (option.compare(0, 2, "--") == 0) fail(option + ": no such option");
        else files.push_back(option);
    }
    if (checking ? !files.empty() : files.size() != 2) fail("usage: facelet_host [options] a.ppm b.ppm, or --check");
    const Model model(model_path);
    Engine engine(model, device, program);
    if (checking) {
        const std::string found = words(engine.run(read_image("check.ppm", model))), wanted = read_file("check.txt");
        const bool same = wanted == found + "\n";
        std::printf("%s: %s\n", engine.name().c_str(), same ? "every integer is right" : "WRONG INTEGERS");
        return same ? 0 : 1;
    }
    const Bytes a = engine.run(read_image(files[0], model)), b = engine.run(read_image(files[1], model));
    if (integers) std::printf("%s\n%s\n", words(a).c_str(), words(b).c_str());
    const double apart = distance(a, b), threshold = model.fact("threshold");
    std::printf("distance %.6f threshold %.6f %s\n", apart, threshold,
                apart < threshold ? "same person" : "different people");
    return 0;
}

int main(int argc, char **argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "facelet_host: %s\n", error.what());
        return 2;
    }
}
