/** A count with its noun, for messages: `plural(1, "service")` is "1 service", `plural(2, "service")` is "2 services". */
export function plural(count: number, noun: string, nounForMany = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : nounForMany}`;
}
