/** Records in a file: each change is on the disk before it is answered for. */
import { createRecords, type Records, type StoredRecord } from "./records.ts";
import { isObject, readState, replaceState } from "./state-file.ts";

/** @param isValue whether a value out of the file is one of these records. @throws StateFileUnusable */
export function openFileRecords<T>(path: string, isValue: (value: unknown) => value is T): Records<T> {
  const isRecord = (entry: unknown): entry is StoredRecord<T> =>
    isObject(entry) && Number.isSafeInteger(entry.version) && isValue(entry.value);
  return createRecords<T>((next, before) => replaceState(path, next, before), readState(path, isRecord));
}
