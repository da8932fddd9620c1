"""The SQL functions that an expression of a configuration may call.

Each gives the same value for the same row on every run, and reads nothing but its arguments: none draws
lots or looks at the clock, the session, the environment or a file, and none makes several rows of one or one
of several. `docs/mappings.md` lists them for people.
"""

from __future__ import annotations

ALLOWED: dict[str, str] = {
    "choices": "between case coalesce equal_null if ifnull in isnan isnotnull isnull nanvl nullif nullifzero nvl "
    "nvl2 when zeroifnull",
    "types": "bigint binary boolean cast date decimal double float int smallint string timestamp tinyint "
    "to_binary to_char to_number to_varchar try_to_binary try_to_number typeof",
    "text": "ascii base64 bit_length btrim char char_length character_length chr concat concat_ws contains decode "
    "elt encode endswith find_in_set format_number format_string ilike initcap instr is_valid_utf8 lcase left len "
    "length levenshtein like locate lower lpad ltrim luhn_check make_valid_utf8 mask octet_length overlay position "
    "printf regexp regexp_count regexp_extract regexp_extract_all regexp_instr regexp_like regexp_replace "
    "regexp_substr repeat replace reverse right rlike rpad rtrim sentences soundex split split_part startswith "
    "substr substring substring_index translate trim try_validate_utf8 ucase unbase64 upper validate_utf8",
    "numbers": "abs acos acosh asin asinh atan atan2 atanh bin bit_count bit_get bround cbrt ceil ceiling conv cos "
    "cosh cot csc degrees div e exp expm1 factorial floor getbit greatest hex hypot least ln log log10 log1p log2 "
    "mod negative pi pmod positive pow power radians rint round sec shiftleft shiftright shiftrightunsigned sign "
    "signum sin sinh sqrt tan tanh try_add try_divide try_mod try_multiply try_subtract unhex width_bucket",
    "times": "add_months convert_timezone date_add date_diff date_format date_from_unix_date date_part date_sub "
    "date_trunc dateadd datediff datepart day dayname dayofmonth dayofweek dayofyear extract from_unixtime "
    "from_utc_timestamp hour last_day make_date make_dt_interval make_interval make_timestamp make_timestamp_ltz "
    "make_timestamp_ntz make_ym_interval minute month monthname months_between next_day quarter second "
    "timestamp_micros timestamp_millis timestamp_seconds to_date to_timestamp to_timestamp_ltz to_timestamp_ntz "
    "to_unix_timestamp to_utc_timestamp trunc try_make_interval try_make_timestamp try_make_timestamp_ltz "
    "try_make_timestamp_ntz try_to_date try_to_timestamp unix_date unix_micros unix_millis unix_seconds "
    "unix_timestamp weekday weekofyear year",
    "arrays": "aggregate array array_append array_compact array_contains array_distinct array_except array_insert "
    "array_intersect array_join array_max array_min array_position array_prepend array_remove array_repeat "
    "array_size array_sort array_union arrays_overlap arrays_zip cardinality element_at exists filter flatten "
    "forall get reduce size slice sort_array transform try_element_at zip_with",
    "maps and structs": "map map_concat map_contains_key map_entries map_filter map_from_arrays map_from_entries "
    "map_keys map_values map_zip_with named_struct str_to_map struct transform_keys transform_values",
    "json, csv and urls": "from_csv from_json get_json_object is_variant_null json_array_length json_object_keys "
    "parse_json parse_url to_csv to_json try_parse_json try_parse_url try_url_decode try_variant_get url_decode "
    "url_encode variant_get",
    "digests": "crc32 hash md5 sha sha1 sha2 xxhash64",
}
"""Names by kind, separated by blanks."""

FUNCTIONS = frozenset(name for names in ALLOWED.values() for name in names.split())

_OF_TIME = "now current_timestamp current_date current_time curdate localtimestamp"
_OF_CHANCE = "rand randn random uuid randstr shuffle uniform"
_OF_PLACE = (
    "monotonically_increasing_id spark_partition_id input_file_name input_file_block_start "
    "input_file_block_length"
)
_OF_ROWS = "explode explode_outer posexplode posexplode_outer inline inline_outer stack json_tuple"
_REASONS = (
    (_OF_TIME, "gives another value on every run"),
    (_OF_CHANCE, "gives another value on every run"),
    (_OF_PLACE, "depends on where a line lies among the files"),
    (_OF_ROWS, "makes several rows of one line"),
)


def why_refused(name: str, is_aggregate: bool) -> str:
    """Why a mapping may not call the function, as the end of a sentence that its name begins."""
    if is_aggregate:
        return "makes one row of several lines"
    return next((why for names, why in _REASONS if name in names.split()), "is not on the list of functions")
