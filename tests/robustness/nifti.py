"""What a NIfTI-1 file says, read slowly by the standard, and ways to damage one."""

import math
import struct

import numpy as np

FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
}
"""Offset and format of the fields that say where a voxel is and what its value is."""
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
TYPES |= {1024: "i8", 1280: "u8"}
NASTY = {
    "h": [-32768, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 32, 64, 128, 1792, 2304, 32767],
    "f": [math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 0.5, 2.0, 352.5, 1e-38, 1e9, 3e38],
    "i": [0, -1, 347, 540, 2**31 - 1],
    "s": [b"ni1\0", b"n+2\0", b"\0\0\0\0", b"n+1 "],
}


def fields(content, order="<"):
    """Return the fields as a dict; those of one number are not tuples."""
    found = {
        name: struct.unpack_from(order + form, content, offset)
        for name, (offset, form) in FIELDS.items()
    }
    return {name: value if len(value) > 1 else value[0] for name, value in found.items()}


def meaning(content):
    """Return the values (x, y, z) and the affine of an uncompressed file, or None if it has none.

    None stands for what a reader must refuse: a header that contradicts the file or itself.
    """
    if len(content) < 348 or content[344:348] not in (b"n+1\0", b"ni1\0"):
        return None
    order = next((one for one in "<>" if 1 <= fields(content, one)["dim"][0] <= 7), None)
    if order is None:
        return None
    header = fields(content, order)
    shape = header["dim"][1 : header["dim"][0] + 1]
    dtype = TYPES.get(header["datatype"])
    offset = header["vox_offset"]
    slope, inter = header["scl_slope"], header["scl_inter"]
    if (
        len(shape) < 3
        or min(shape) < 1
        or set(shape[3:]) - {1}
        or dtype is None
        or header["bitpix"] != 8 * int(dtype[1:])
        or not math.isfinite(offset)
        or offset != int(offset)
        or offset < 352
        or offset + math.prod(shape) * int(dtype[1:]) != len(content)
        or (slope != 0 and not (math.isfinite(slope) and math.isfinite(inter)))
    ):
        return None
    affine = _affine(header, shape)
    if affine is None or not np.isfinite(affine).all():
        return None
    edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not (edges >= 1e-6).all() or np.abs(affine).max() > 1e6:
        return None
    if np.linalg.svd(affine[:3, :3] / edges, compute_uv=False)[-1] < 1e-6:
        return None
    values = np.frombuffer(content, order + dtype, offset=int(offset)).astype(np.float64)
    values = values.reshape(shape[:3], order="F")
    return values if slope == 0 else values * slope + inter, affine


def _affine(header, shape):
    codes = header["sform_code"], header["qform_code"]
    if not all(0 <= code <= 5 for code in codes):
        return None
    rows = np.array(header["srow"], dtype=np.float64).reshape(3, 4)
    if codes[0] > 0 and not (codes[1] > 0 and not rows.any()):
        return np.vstack([rows, [0, 0, 0, 1]])
    edges = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
    if not (np.isfinite(edges) & (edges > 0)).all():
        return None
    if codes[1] == 0:  # no position: nibabel places the middle of the grid at 0, x to the left
        edges[0] *= -1
        affine = np.diag([*edges, 1])
        affine[:3, 3] = -edges * (np.array(shape[:3]) - 1) / 2
        return affine
    if header["pixdim"][0] not in (-1, 0, 1):
        return None
    b, c, d = header["quatern"]
    rest = 1 - (b * b + c * c + d * d)
    if math.isnan(rest) or rest < -3e-7:
        return None
    a = math.sqrt(max(rest, 0))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    edges[2] *= -1 if header["pixdim"][0] < 0 else 1
    affine = np.eye(4)
    affine[:3, :3] = rotation * edges
    affine[:3, 3] = header["qoffset"]
    return affine


def damaged(content, rng):
    """Return the content of a file with one to three random damages, and their description."""
    content, done = bytearray(content), []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        match rng.choice(["field", "field", "field", "bit", "length"]):
            case "field":
                name = rng.choice(list(FIELDS))
                offset, form = FIELDS[name]
                kind = form[-1]
                at = rng.randrange(int(form[:-1] or 1)) if kind != "s" else 0
                place = offset + at * (0 if kind == "s" else struct.calcsize(kind))
                value = rng.choice(NASTY[kind])
                struct.pack_into("<4s" if kind == "s" else "<" + kind, content, place, value)
                done.append(f"{name}[{at}] = {value!r}")
            case "bit":
                bit = rng.randrange(8 * 348)
                content[bit // 8] ^= 1 << bit % 8
                done.append(f"bit {bit}")
            case "length":
                n = rng.choice([-300, -48, -1, 1, 16, 200])
                content = content[:n] if n < 0 else content + bytes(n)
                done.append(f"{n:+d} bytes")
        if len(content) < 348:
            break
    return bytes(content), ", ".join(done)
