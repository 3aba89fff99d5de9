/** Records in a file: each change is on the disk before it is answered for. */

import { isObject } from "../is-object.ts";
import { createRecords, type Records, type StoredRecord } from "./records.ts";
import { readState, replaceState, type State } from "./state-file.ts";

type IsValue<T> = (value: unknown) => value is T;

/** @param isValue whether a value out of the file is one of these records. @throws StateFileUnusable */
export function openFileRecords<T>(path: string, isValue: IsValue<T>): Records<T> {
  return createRecords<T>((next, before) => replaceState(path, next, before), readRecords(path, isValue));
}

/** As they are now, for who only looks: what is changed in them stays in memory. @throws StateFileUnusable */
export function lookAtFileRecords<T>(path: string, isValue: IsValue<T>): Records<T> {
  return createRecords<T>(undefined, readRecords(path, isValue));
}

/** Their values as they are now. @throws StateFileUnusable */
export function* peekFileRecords<T>(path: string, isValue: IsValue<T>): Generator<T> {
  for (const [, { value }] of readRecords(path, isValue)?.entries ?? []) yield value;
}

function readRecords<T>(path: string, isValue: IsValue<T>): State<StoredRecord<T>> | undefined {
  const isRecord = (entry: unknown): entry is StoredRecord<T> =>
    isObject(entry) && Number.isSafeInteger(entry.version) && isValue(entry.value);
  return readState(path, isRecord);
}
