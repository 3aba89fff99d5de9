/** Places for what may run at the same time: taken at admission, given back when the exchange is over. */

export class Slots {
  /** 0 for no cap. */
  readonly limit: number;
  taken = 0;
  /** Those that gave their place back for as long as they wait for something else. */
  waiting = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get isFull(): boolean {
    return this.limit > 0 && this.taken >= this.limit;
  }
}
