"""Makes the parquet files of tests/golden/texts and tests/golden/hostile/parquet. Needs pyarrow (26.0.1 made those here).

Each file of texts holds the rows ROWS; how they are written differs.
"""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
ROWS = ["Once upon a time.", None, "", "  Zwölf Boxkämpfer \U0001f600\n", "Once upon a time.", "Long: " + "tale " * 40]


def write(name, text=pa.string(), rows=ROWS, **how):
    """One file: a column of numbers, then the texts; two rows in a group."""
    table = pa.table({"id": pa.array(range(len(rows)), pa.int64()), "text": pa.array(rows, text)})
    pq.write_table(table, HERE / name, row_group_size=2, **how)


(HERE / "texts").mkdir(exist_ok=True)
# As datasets on the hub are written.
write("texts/snappy.parquet", compression="snappy")
write("texts/plain.parquet", compression="none", use_dictionary=False)
write("texts/second-pages.parquet", compression="snappy", data_page_version="2.0", text=pa.large_string())
write(
    "texts/delta.parquet",
    compression="none",
    use_dictionary=False,
    data_page_version="2.0",
    column_encoding={"text": "DELTA_BYTE_ARRAY", "id": "PLAIN"},
)
write("texts/zstd.parquet", compression="zstd")

hostile = HERE / "hostile/parquet"
hostile.mkdir(exist_ok=True)
write("hostile/parquet/good", compression="snappy", store_schema=False)
write("hostile/parquet/delta", compression="none", use_dictionary=False, data_page_version="2.0", store_schema=False,
      column_encoding={"text": "DELTA_BYTE_ARRAY", "id": "PLAIN"})
write("hostile/parquet/numbers", pa.int64(), [1, 2], compression="none", store_schema=False)
write("hostile/parquet/binary-no-utf8", pa.binary(), [b"good", b"\xff"], compression="none", store_schema=False)
write("hostile/parquet/lists", pa.list_(pa.string()), [["a"], ["b", "c"]], compression="none", store_schema=False)
write("hostile/parquet/gzip", compression="gzip", store_schema=False)
pq.write_table(pa.table({"body": pa.array(["a"])}), hostile / "no-such-column", store_schema=False)
write("hostile/parquet/no-rows", rows=[], store_schema=False)

good = (hostile / "good").read_bytes()
for name, content in {
    "empty": b"",
    "cut": good[:-20],
    "page": b"<!doctype html><title>Sign in</title>",
    "footer-beyond-file": good[:-8] + (len(good)).to_bytes(4, "little") + b"PAR1",
    "footer-huge": good[:-8] + (0xFFFFFFFF).to_bytes(4, "little") + b"PAR1",
}.items():
    (hostile / name).write_bytes(content)


def footer(*fields):
    """A file of a footer alone."""
    body = b"".join(fields) + b"\0"
    return b"PAR1" + body + len(body).to_bytes(4, "little") + b"PAR1"


def element(children):
    """An element of a schema that has only a name and a number of children."""
    number, value = 2 * children, b""
    while number > 0x7F:
        value, number = value + bytes([number & 0x7F | 0x80]), number >> 7
    return b"\x48\x01s\x15" + value + bytes([number]) + b"\0"


def schema(elements):
    """The field of a schema."""
    length, head = len(elements), b"\x29\xfc"
    while length > 0x7F:
        head, length = head + bytes([length & 0x7F | 0x80]), length >> 7
    return head + bytes([length]) + b"".join(elements)


# A group that claims a thousand million children, and groups in groups in groups.
(hostile / "children").write_bytes(footer(schema([element(10**9)])))
(hostile / "nested").write_bytes(footer(schema([element(1)] * 100)))
# The first page of texts claims to be two gigabytes once unpacked. Before it is one of numbers.
size = good.rindex(b"\x15\x04\x15", 0, good.index(b"Once")) + 3
(hostile / "page-huge").write_bytes(good[:size] + b"\xfe\xff\xff\xff\x0f" + good[size + 1 :])
