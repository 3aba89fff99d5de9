/** What a change is made dependent on: RFC 9110 section 13.1. */

/** The fields as they came: each a list of entity tags, or `*`. */
export interface Preconditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

/** @param current the entity tag of what is there; undefined for nothing. */
export function areMet({ ifMatch, ifNoneMatch }: Preconditions, current: string | undefined): boolean {
  if (current === undefined) return ifMatch === undefined;
  return (
    (ifMatch === undefined || lists(ifMatch, current)) && (ifNoneMatch === undefined || !lists(ifNoneMatch, current))
  );
}

/** Strong comparison: a weak tag matches nothing (section 8.8.3.2). */
function lists(tags: string, tag: string): boolean {
  return tags.trim() === "*" || tags.split(",").some((each) => each.trim() === tag);
}
