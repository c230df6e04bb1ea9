# A recipe for this checkout: conan create <checkout>/examples/packaging/conan
import os
import re

from conan import ConanFile
from conan.tools.files import copy, load

CHECKOUT = os.path.join("..", "..", "..")


class DiffusionConan(ConanFile):
    name = "diffusion"
    description = "Gaussian diffusion models on Eigen tensors"
    license = "MIT"
    package_type = "header-library"
    no_copy_source = True

    def set_version(self):
        text = load(self, os.path.join(self.recipe_folder, CHECKOUT, "include", "diffusion", "version.hpp"))
        self.version = ".".join(re.findall(r"#define DIFFUSION_VERSION_\w+ (\d+)", text))

    def export_sources(self):
        for pattern in ("include/*", "LICENSE"):
            copy(self, pattern, os.path.join(self.recipe_folder, CHECKOUT), self.export_sources_folder)

    def requirements(self):
        self.requires("eigen/[>=3.4]", transitive_headers=True)

    def package_id(self):
        self.info.clear()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", os.path.join(self.source_folder, "include"), os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "diffusion")
        self.cpp_info.set_property("cmake_target_name", "diffusion::diffusion")
