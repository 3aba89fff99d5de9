/**
 * Reads dates in HTTP fields (RFC 9110 section 5.6.7): IMF-fixdate and the two obsolete forms.
 * Invariant: another form is no date. `Date.parse` reads `0`, `-1` and other zones as dates, so that an invalid Expires would be valid.
 */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const TIME = "(\\d{2}):(\\d{2}):(\\d{2})";
const IMF_FIXDATE = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\\d{2}) ([A-Z][a-z]{2}) (\\d{4}) ${TIME} GMT$`);
const RFC_850 = new RegExp(
  `^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\\d{2})-([A-Z][a-z]{2})-(\\d{2}) ${TIME} GMT$`,
);
const ASCTIME = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) ([ \\d]\\d) ${TIME} (\\d{4})$`);

/** @param now ms since the epoch; decides the century of two digits. @returns ms since the epoch; NaN for no date. */
export function readHttpDate(text: string | undefined, now: number): number {
  if (text === undefined) return Number.NaN;
  const imf = IMF_FIXDATE.exec(text);
  if (imf !== null) return toTime(imf[3], imf[2], imf[1], imf.slice(4));
  const rfc850 = RFC_850.exec(text);
  if (rfc850 !== null) {
    const century = Math.floor(new Date(now).getUTCFullYear() / 100) * 100;
    const year = century + Number(rfc850[3]);
    // More than 50 years ahead is the century before.
    const isAhead = year > new Date(now).getUTCFullYear() + 50;
    return toTime(isAhead ? year - 100 : year, rfc850[2], rfc850[1], rfc850.slice(4));
  }
  const asctime = ASCTIME.exec(text);
  return asctime === null ? Number.NaN : toTime(asctime[6], asctime[1], asctime[2], asctime.slice(3, 6));
}

function toTime(
  year: string | number | undefined,
  month: string | undefined,
  day: string | undefined,
  time: readonly string[],
): number {
  const at = MONTHS.indexOf(month ?? "");
  const [hours = 99, minutes = 99, seconds = 99] = time.map(Number);
  if (at === -1 || hours > 23 || minutes > 59 || seconds > 60) return Number.NaN;
  const found = Date.UTC(Number(year), at, Number(day), hours, minutes, seconds);
  return new Date(found).getUTCDate() === Number(day) || seconds === 60 ? found : Number.NaN;
}
