"""The platform tag of a wheel, such as manylinux_2_34_x86_64, by what its library needs."""

import struct
from dataclasses import dataclass
from typing import Iterator, List, Tuple

# What every Linux with glibc has. A library that needs others is for this machine only.
GLIBC_LIBRARIES = {
    "libc.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "libm.so.6",
    "librt.so.1",
    "libresolv.so.2",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}


class LibraryError(Exception):
    """Says why a library is not one for a target."""


@dataclass
class Target:
    suffix: str  # of the library
    machine: str  # as platform tags have it
    code: int  # of the machine, in the library's header


TARGETS = {
    "linux-amd64": Target(".so", "x86_64", 62),
    "linux-arm64": Target(".so", "aarch64", 183),
    "darwin-amd64": Target(".dylib", "x86_64", 0x1000007),
    "darwin-arm64": Target(".dylib", "arm64", 0x100000C),
}


def platform_tag(library: bytes, target: Target) -> str:
    """Return the platform tag of a library, by the oldest system that can load it."""
    if target.suffix == ".so":
        return elf_tag(library, target)
    return macho_tag(library, target)


def elf_tag(library: bytes, target: Target) -> str:
    if library[:6] != b"\x7fELF\x02\x01":
        raise LibraryError("not a library for 64-bit Linux")
    (code,) = struct.unpack_from("<H", library, 18)
    if code != target.code:
        raise LibraryError(f"a library for another machine, of ELF code {code}")
    glibc: List[Tuple[int, ...]] = []
    for version in elf_versions(library):
        name, _, number = version.partition("_")
        if name == "GLIBC":
            glibc.append(tuple(int(n) for n in number.split(".")))
    if not glibc or not set(elf_needed(library)) <= GLIBC_LIBRARIES:
        return f"linux_{target.machine}"
    major, minor = max(glibc)[:2]
    return f"manylinux_{major}_{minor}_{target.machine}"


def elf_sections(library: bytes, type_: int) -> Iterator[Tuple[int, int, int, int]]:
    """Yield offset, size, info, and the offset of the strings, of each section of a type."""
    (table,) = struct.unpack_from("<Q", library, 40)
    size, count = struct.unpack_from("<HH", library, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", library, table + i * size) for i in range(count)]
    for header in headers:
        if header[1] == type_:
            yield header[4], header[5], header[7], headers[header[6]][4]


def text_at(library: bytes, offset: int) -> str:
    return library[offset : library.index(b"\0", offset)].decode()


def elf_versions(library: bytes) -> Iterator[str]:
    """Yield the versions of symbols that a library needs, as GLIBC_2.34."""
    for need, _, needs, strings in elf_sections(library, 0x6FFFFFFE):  # SHT_GNU_verneed
        for _ in range(needs):
            _, versions, _, aux, next_need = struct.unpack_from("<HHIII", library, need)
            aux += need
            for _ in range(versions):
                _, _, _, name, next_aux = struct.unpack_from("<IHHII", library, aux)
                yield text_at(library, strings + name)
                aux += next_aux
            need += next_need


def elf_needed(library: bytes) -> Iterator[str]:
    """Yield the names of the libraries that a library needs."""
    for offset, size, _, strings in elf_sections(library, 6):  # SHT_DYNAMIC
        for tag, value in struct.iter_unpack("<qQ", library[offset : offset + size]):
            if tag == 1:  # DT_NEEDED
                yield text_at(library, strings + value)


def macho_tag(library: bytes, target: Target) -> str:
    magic, code = struct.unpack_from("<II", library)
    if magic != 0xFEEDFACF:
        raise LibraryError("not a library for 64-bit macOS")
    if code != target.code:
        raise LibraryError(f"a library for another machine, of Mach-O code {code:#x}")
    (commands,) = struct.unpack_from("<I", library, 16)
    offset = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<II", library, offset)
        if command in (0x24, 0x32):  # LC_VERSION_MIN_MACOSX, LC_BUILD_VERSION
            (version,) = struct.unpack_from("<I", library, offset + (8 if command == 0x24 else 12))
            major, minor = version >> 16, version >> 8 & 0xFF
            if major > 10:  # whose tags have no minor versions
                major, minor = major + (minor > 0), 0
            return f"macosx_{major}_{minor}_{target.machine}"
        offset += size
    raise LibraryError("the library does not say which macOS it needs")
