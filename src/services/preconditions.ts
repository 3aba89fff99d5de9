/** What a change is made dependent on: RFC 9110 section 13.1. */

/** The fields as they came: each a list of entity tags, or `*`. */
export interface Preconditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

/** @param current the entity tag of what is there; undefined for nothing. */
export function areMet({ ifMatch, ifNoneMatch }: Preconditions, current: string | undefined): boolean {
  if (current === undefined) return ifMatch === undefined;
  if (ifMatch !== undefined && !lists(ifMatch, current)) return false;
  // Compared weakly (section 13.1.2), the other strongly: there a weak tag matches nothing.
  return ifNoneMatch === undefined || !lists(ifNoneMatch.replaceAll("W/", ""), current);
}

function lists(tags: string, tag: string): boolean {
  return tags.trim() === "*" || tags.split(",").some((each) => each.trim() === tag);
}
