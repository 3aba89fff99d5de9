/** Text from outside made safe for messages and logs: bytes other than printable ASCII become `?`, and long text is cut. */
export function printable(text: string, maxLength = 200): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, maxLength);
}
