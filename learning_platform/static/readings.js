// Sends a visit's readings, one a second, each until the server has it on disk.

export class Readings {
  // address: where visits begin; told: {message(text), offline(), over()}.
  constructor(address, token, told) {
    Object.assign(this, { address, token, told, waiting: [], sequence: 0, visit: null, visitToken: '' });
  }

  post(address, body, keepalive = false) {
    const headers = { 'X-CSRFToken': this.token, 'Content-Type': 'application/json' };
    if (this.visit !== null) headers['X-Visit-Token'] = this.visitToken;
    return fetch(address, { method: 'POST', headers, body: JSON.stringify(body), keepalive });
  }

  async start() {
    const response = await this.post(this.address, {});
    if (response.status !== 201) throw new Error(`visit: ${response.status}`);
    ({ visit: this.visit, token: this.visitToken } = await response.json());
    [this.sequence, this.waiting] = [0, []];
  }

  // probabilities: {label: p}, or null without a face.
  add(probabilities) {
    this.waiting.push({ sequence: ++this.sequence, probabilities });
    if (!this.sending) this.sending = this.send().finally(() => (this.sending = null));
  }

  // In their order, one after the other: the server takes a number only once.
  async send() {
    while (this.waiting.length) {
      let response;
      try {
        response = await this.post(`/visits/${this.visit}/readings/`, this.waiting[0]);
      } catch {
        return this.told.offline();
      }
      if (response.status >= 500) return this.told.offline();
      if (!response.ok || response.redirected) return this.told.over();
      this.waiting.shift();
      const { message } = await response.json();
      if (message) this.told.message(message);
    }
  }

  // Once what waits is sent.
  async end() {
    await this.sending;
    this.leave();
  }

  // At once: the page goes.
  leave() {
    if (this.visit === null) return;
    const visit = this.visit;
    [this.visit, this.waiting] = [null, []];
    this.post(`/visits/${visit}/end/`, {}, true).catch(() => {});
  }
}
