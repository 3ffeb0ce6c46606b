/* The part of OpenCL 1.2's C API that the host needs, written from the specification (Khronos, revision 19), and found
   at run time: neither headers nor an import library are needed to build. */

#ifndef CL_MIN_H
#define CL_MIN_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef cl_uint cl_bool;
typedef struct _cl_platform_id *cl_platform_id;
typedef struct _cl_device_id *cl_device_id;
typedef struct _cl_context *cl_context;
typedef struct _cl_command_queue *cl_command_queue;
typedef struct _cl_mem *cl_mem;
typedef struct _cl_program *cl_program;
typedef struct _cl_kernel *cl_kernel;
typedef struct _cl_event *cl_event;

enum {
    CL_SUCCESS = 0,
    CL_TRUE = 1,
    CL_DEVICE_NAME = 0x102B,
    CL_PLATFORM_VERSION = 0x0901,
    CL_PLATFORM_NAME = 0x0902,
    CL_MEM_READ_WRITE = 1 << 0,
    CL_MEM_COPY_HOST_PTR = 1 << 5,
    CL_PROGRAM_BUILD_LOG = 0x1183
};
static const cl_ulong CL_DEVICE_TYPE_ALL = 0xFFFFFFFF;

#define CL_MIN_FUNCTIONS(X)                                                                                            \
    X(clGetPlatformIDs, cl_int, (cl_uint, cl_platform_id *, cl_uint *))                                                \
    X(clGetPlatformInfo, cl_int, (cl_platform_id, cl_uint, size_t, void *, size_t *))                                  \
    X(clGetDeviceIDs, cl_int, (cl_platform_id, cl_ulong, cl_uint, cl_device_id *, cl_uint *))                          \
    X(clGetDeviceInfo, cl_int, (cl_device_id, cl_uint, size_t, void *, size_t *))                                      \
    X(clCreateContext, cl_context,                                                                                     \
      (const intptr_t *, cl_uint, const cl_device_id *, void (*)(const char *, const void *, size_t, void *), void *,  \
       cl_int *))                                                                                                      \
    X(clCreateCommandQueue, cl_command_queue, (cl_context, cl_device_id, cl_ulong, cl_int *))                          \
    X(clCreateBuffer, cl_mem, (cl_context, cl_ulong, size_t, void *, cl_int *))                                        \
    X(clCreateProgramWithSource, cl_program, (cl_context, cl_uint, const char **, const size_t *, cl_int *))           \
    X(clCreateProgramWithBinary, cl_program,                                                                           \
      (cl_context, cl_uint, const cl_device_id *, const size_t *, const unsigned char **, cl_int *, cl_int *))         \
    X(clBuildProgram, cl_int,                                                                                          \
      (cl_program, cl_uint, const cl_device_id *, const char *, void (*)(cl_program, void *), void *))                 \
    X(clGetProgramBuildInfo, cl_int, (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *))                    \
    X(clCreateKernel, cl_kernel, (cl_program, const char *, cl_int *))                                                 \
    X(clSetKernelArg, cl_int, (cl_kernel, cl_uint, size_t, const void *))                                              \
    X(clEnqueueNDRangeKernel, cl_int,                                                                                  \
      (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,                  \
       const cl_event *, cl_event *))                                                                                  \
    X(clEnqueueWriteBuffer, cl_int,                                                                                    \
      (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint, const cl_event *, cl_event *))        \
    X(clEnqueueReadBuffer, cl_int,                                                                                     \
      (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *))              \
    X(clFlush, cl_int, (cl_command_queue))                                                                             \
    X(clFinish, cl_int, (cl_command_queue))

#define CL_MIN_DECLARE(name, result, arguments)                                                                        \
    typedef result(*name##_t) arguments;                                                                               \
    static name##_t name;
CL_MIN_FUNCTIONS(CL_MIN_DECLARE)
#undef CL_MIN_DECLARE

/* Finds the functions in the library of that name, or in the system's; returns what is missing, or NULL. */
static inline const char *cl_min_open(const char *library) {
    void *handle = dlopen(library ? library : "libOpenCL.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (!handle && !library) handle = dlopen("libOpenCL.so", RTLD_NOW | RTLD_GLOBAL);
    if (!handle) return library ? library : "libOpenCL.so";
#define CL_MIN_FIND(name, result, arguments)                                                                           \
    name = reinterpret_cast<name##_t>(dlsym(handle, #name));                                                           \
    if (!name) return #name;
    CL_MIN_FUNCTIONS(CL_MIN_FIND)
#undef CL_MIN_FIND
    return NULL;
}

#endif
