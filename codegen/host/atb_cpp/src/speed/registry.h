// Model libraries: loaded, their models by name, unloaded.
#pragma once

#include <string>
#include <vector>

namespace atb_host {

/// Loads a library whose static objects register models. Fails if the library is loaded already, a
/// name is taken or no model registers.
void *OpenLibrary(const std::string &path);

/// Forgets the models of a library and unloads it. None of its models may exist any more.
void CloseLibrary(void *library);

std::vector<std::string> ModelNames();

}  // namespace atb_host
