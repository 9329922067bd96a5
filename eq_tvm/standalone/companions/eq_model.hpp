// The network for C++11 and later: its memory and its run as one object. Throws nothing, and needs no RTTI.
//
//     eq_model::Model model;
//     if (!model) return 1;                       // out of memory
//     float *pixels = model.input<float>(0);      // nullptr where the input has another type
//     ...
//     if (model.run(2)) return 1;                 // on two threads
//     const float *scores = model.output<float>(0);
//
// Inputs and outputs belong to the object, and stay where they are for its life. One object is for one thread at a
// time; several objects run at the same time.
#ifndef EQ_MODEL_HPP
#define EQ_MODEL_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "eq_model.h"

namespace eq_model {

// numpy's name of a type
template <class T> inline const char *dtype() noexcept;
template <> inline const char *dtype<float>() noexcept { return "float32"; }
template <> inline const char *dtype<double>() noexcept { return "float64"; }
template <> inline const char *dtype<bool>() noexcept { return "bool"; }
template <> inline const char *dtype<std::int8_t>() noexcept { return "int8"; }
template <> inline const char *dtype<std::int16_t>() noexcept { return "int16"; }
template <> inline const char *dtype<std::int32_t>() noexcept { return "int32"; }
template <> inline const char *dtype<std::int64_t>() noexcept { return "int64"; }
template <> inline const char *dtype<std::uint8_t>() noexcept { return "uint8"; }
template <> inline const char *dtype<std::uint16_t>() noexcept { return "uint16"; }
template <> inline const char *dtype<std::uint32_t>() noexcept { return "uint32"; }
template <> inline const char *dtype<std::uint64_t>() noexcept { return "uint64"; }

class Model {
public:
    Model() noexcept
    {
        std::size_t bytes = ALIGNMENT + aligned(eq_model_workspace_size());
        for (int i = 0; i < EQ_MODEL_INPUTS; i++)
            bytes += aligned(eq_model_inputs()[i].bytes);
        for (int i = 0; i < EQ_MODEL_OUTPUTS; i++)
            bytes += aligned(eq_model_outputs()[i].bytes);
        memory_.reset(new (std::nothrow) unsigned char[bytes]);
        if (!memory_)
            return;
        unsigned char *next = memory_.get();
        next += (ALIGNMENT - reinterpret_cast<std::uintptr_t>(next) % ALIGNMENT) % ALIGNMENT;
        for (int i = 0; i < EQ_MODEL_INPUTS; next += aligned(eq_model_inputs()[i].bytes), i++) {
            inputs_[i] = next;
            std::memset(next, 0, eq_model_inputs()[i].bytes);
        }
        for (int i = 0; i < EQ_MODEL_OUTPUTS; next += aligned(eq_model_outputs()[i].bytes), i++)
            outputs_[i] = next;
        workspace_ = next;
    }

    Model(Model &&other) noexcept { *this = std::move(other); }

    Model &operator=(Model &&other) noexcept
    {
        if (this == &other)
            return *this;
        memory_ = std::move(other.memory_);
        workspace_ = other.workspace_;
        std::memcpy(inputs_, other.inputs_, sizeof inputs_);
        std::memcpy(outputs_, other.outputs_, sizeof outputs_);
        return *this;
    }

    // Whether there was memory for it. Of what was moved from: no.
    explicit operator bool() const noexcept { return memory_ != nullptr; }

    // The elements of an input, to be filled, or of an output; nullptr where it has another type, or there is none.
    template <class T> T *input(int index) noexcept
    {
        return has<T>(eq_model_inputs(), index, EQ_MODEL_INPUTS) ? static_cast<T *>(inputs_[index]) : nullptr;
    }

    template <class T> const T *output(int index) const noexcept
    {
        return has<T>(eq_model_outputs(), index, EQ_MODEL_OUTPUTS) ? static_cast<const T *>(outputs_[index]) : nullptr;
    }

    // 0, or what eq_model_run gives: -1 where there is no memory, -2 where the processor lacks instructions.
    int run(int threads = 1) noexcept
    {
        return *this ? eq_model_run(inputs_, outputs_, workspace_, threads) : -1;
    }

private:
    static constexpr std::size_t ALIGNMENT = 64; // which saves copies

    static std::size_t aligned(std::size_t bytes) noexcept { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

    template <class T> bool has(const eq_model_tensor *tensors, int index, int count) const noexcept
    {
        return *this && index >= 0 && index < count && !std::strcmp(tensors[index].dtype, dtype<T>());
    }

    std::unique_ptr<unsigned char[]> memory_;
    void *inputs_[EQ_MODEL_INPUTS > 0 ? EQ_MODEL_INPUTS : 1] = {};
    void *outputs_[EQ_MODEL_OUTPUTS > 0 ? EQ_MODEL_OUTPUTS : 1] = {};
    void *workspace_ = nullptr;
};

} // namespace eq_model

#endif
