// Runs TVM modules for tests/emulation/aarch64.py: reads commands from stdin, writes answers to stdout.
//
//   load PATH             the shared object that the next calls use    -> "ok 0"
//   kernel NAME COUNT     calls a PrimFunc on COUNT tensors            -> "ok COUNT", then the tensors after the call
//   vm NAME COUNT         calls a function of the virtual machine      -> "ok N", then its N results
//
// A tensor is a line "DTYPE DIM...", then its bytes. A failed command answers "error MESSAGE" (one line).
#include <dlpack/dlpack.h>
#include <sys/mman.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/dtype.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <unistd.h>

#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

// An argument ends in front of a page that can't be accessed, so that a kernel that runs over the end faults
// (from 64 bytes on: TVM promises 64-byte alignment to its kernels).
struct GuardedAlloc {
  static size_t Up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

  void AllocData(DLTensor* tensor) {
    size_t page = sysconf(_SC_PAGESIZE), bytes = Up(ffi::GetDataSize(*tensor), 64), room = Up(bytes, page);
    void* base = mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    mprotect(static_cast<char*>(base) + room, page, PROT_NONE);
    tensor->data = static_cast<char*>(base) + room - bytes;
  }

  void FreeData(DLTensor* tensor) {
    size_t page = sysconf(_SC_PAGESIZE), room = Up(Up(ffi::GetDataSize(*tensor), 64), page);
    munmap(reinterpret_cast<void*>(reinterpret_cast<size_t>(tensor->data) / page * page), room + page);
  }
};

ffi::Tensor ReadTensor() {
  std::string line, dtype;
  std::getline(std::cin, line);
  std::istringstream header(line);
  header >> dtype;
  std::vector<int64_t> shape;
  for (int64_t dim; header >> dim;) shape.push_back(dim);
  auto tensor = ffi::Tensor::FromNDAlloc(GuardedAlloc(), ffi::ShapeView(shape.data(), shape.size()),
                                         ffi::StringToDLDataType(dtype), DLDevice{kDLCPU, 0});
  std::cin.read(static_cast<char*>(tensor.data_ptr()), ffi::GetDataSize(*tensor.GetDLTensorPtr()));
  return tensor;
}

void WriteTensor(const ffi::Tensor& tensor) {
  std::cout << std::string(ffi::DLDataTypeToString(tensor.dtype()));
  for (int64_t dim : tensor.shape()) std::cout << ' ' << dim;
  std::cout << '\n';
  std::cout.write(static_cast<const char*>(tensor.data_ptr()), ffi::GetDataSize(*tensor.GetDLTensorPtr()));
}

// A result of the virtual machine is a tensor or a (nested) tuple of them.
void Flatten(const ffi::Any& value, std::vector<ffi::Tensor>* out) {
  if (auto array = value.as<ffi::Array<ffi::Any>>()) {
    for (const ffi::Any& item : *array) Flatten(item, out);
  } else {
    out->push_back(value.cast<ffi::Tensor>());
  }
}

ffi::Module StartVirtualMachine(const ffi::Module& library) {
  auto machine = (*library->GetFunction("vm_load_executable"))().cast<ffi::Module>();
  constexpr int kPooledAllocator = 2;
  (*machine->GetFunction("vm_initialization"))(static_cast<int>(kDLCPU), 0, kPooledAllocator);
  return machine;
}

std::vector<ffi::Tensor> Call(const ffi::Module& module, const std::string& name, std::vector<ffi::Tensor> arguments,
                              bool in_place) {
  auto function = module->GetFunction(name);
  if (!function.has_value()) throw std::runtime_error("no function " + name);
  std::vector<ffi::AnyView> views(arguments.begin(), arguments.end());
  ffi::Any result;
  (*function).CallPacked(views.data(), views.size(), &result);
  if (in_place) return arguments;
  std::vector<ffi::Tensor> results;
  Flatten(result, &results);
  return results;
}

int main() {
  std::optional<ffi::Module> library, machine;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, name;
    size_t count = 0;
    words >> command;
    std::vector<ffi::Tensor> results;
    try {
      if (command == "load") {
        machine.reset();  // first: it uses the library's code
        library.reset();
        library = ffi::Module::LoadFromFile(line.substr(sizeof("load")));
      } else {
        words >> name >> count;
        std::vector<ffi::Tensor> arguments;
        for (size_t i = 0; i < count; ++i) arguments.push_back(ReadTensor());
        if (command == "vm" && !machine) machine = StartVirtualMachine(*library);
        results = Call(command == "vm" ? *machine : *library, name, arguments, command == "kernel");
      }
      std::cout << "ok " << results.size() << '\n';
      for (const ffi::Tensor& tensor : results) WriteTensor(tensor);
    } catch (const std::exception& error) {
      std::string message = error.what();
      for (char& c : message) c = c == '\n' ? ' ' : c;
      std::cout << "error " << message << '\n';
    }
    std::cout.flush();
  }
}
