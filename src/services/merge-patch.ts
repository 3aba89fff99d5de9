/** JSON Merge Patch (RFC 7396): members of the patch replace those of the target, null takes them away, lists are replaced whole. */
import { isObject } from "../is-object.ts";

export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name);
    else merged.set(name, mergePatch(merged.get(name), value));
  }
  // fromEntries defines members, so that even `__proto__` is only a name.
  return Object.fromEntries(merged);
}
