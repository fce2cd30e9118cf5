// The picture at hand: drawn, chosen, of the camera, or noise.

export const STAGE_SIZE = 280;

/** Pixels that an arrow key moves the pen. */
const KEY_STEP = 10;
const PEN_WIDTH = 22;

const MOVES: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

type Picture = ImageBitmap | HTMLCanvasElement | HTMLVideoElement;

const sizeOf = (picture: Picture): [number, number] =>
  picture instanceof HTMLVideoElement ? [picture.videoWidth, picture.videoHeight] : [picture.width, picture.height];

/** The largest part of a picture that has the wanted shape, from its middle. */
function drawCovering(context: CanvasRenderingContext2D, picture: Picture, width: number, height: number): void {
  const [w, h] = sizeOf(picture);
  const scale = Math.min(w / width, h / height);
  const [cutWidth, cutHeight] = [width * scale, height * scale];
  context.drawImage(picture, (w - cutWidth) / 2, (h - cutHeight) / 2, cutWidth, cutHeight, 0, 0, width, height);
}

export class Stage {
  readonly canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #small = document.createElement('canvas');
  readonly #onChange: () => void;
  readonly #onCameraEnd: () => void;
  /** What is seen; undefined: what was drawn on the canvas itself. */
  #picture: Picture | undefined;
  #pen: { x: number; y: number; down: boolean } = { x: STAGE_SIZE / 2, y: STAGE_SIZE / 2, down: false };
  #video: HTMLVideoElement | undefined;

  constructor(canvas: HTMLCanvasElement, onChange: () => void, onCameraEnd: () => void) {
    this.canvas = canvas;
    this.#onChange = onChange;
    this.#onCameraEnd = onCameraEnd;
    canvas.width = STAGE_SIZE;
    canvas.height = STAGE_SIZE;
    this.#context = canvas.getContext('2d')!;
    this.#listen();
  }

  /** Shows a picture: an image's middle, or pixels as they are. */
  show(picture: ImageBitmap | HTMLCanvasElement): void {
    this.stopCamera();
    this.#picture = picture;
    this.#paint();
    this.#onChange();
  }

  /** Colours by chance. */
  showNoise(): void {
    const canvas = document.createElement('canvas');
    canvas.width = 28;
    canvas.height = 28;
    const context = canvas.getContext('2d')!;
    const image = context.createImageData(28, 28);
    for (let i = 0; i < image.data.length; i++) image.data[i] = i % 4 === 3 ? 255 : Math.random() * 256;
    context.putImageData(image, 0, 0);
    this.show(canvas);
  }

  clear(): void {
    this.stopCamera();
    this.#blank();
    this.#onChange();
  }

  get hasCamera(): boolean {
    return this.#video !== undefined;
  }

  /** @throws what the browser says when there is no camera, or it may not be used */
  async startCamera(): Promise<void> {
    if (!navigator.mediaDevices) throw new Error('Browsers give a camera to pages from https or localhost only.');
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' }, audio: false });
    const video = document.createElement('video');
    video.muted = true;
    video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    this.#video = video;
    this.#picture = video;
    stream.getVideoTracks()[0].addEventListener('ended', () => this.stopCamera());
    const frame = () => {
      if (this.#video !== video) return;
      this.#paint();
      this.#onChange();
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
  }

  /** Keeps the last frame. */
  stopCamera(): void {
    const video = this.#video;
    if (!video) return;
    this.#video = undefined;
    this.#picture = undefined;
    for (const track of (video.srcObject as MediaStream).getTracks()) track.stop();
    this.#onCameraEnd();
  }

  /** The picture in a network's size: RGBA. */
  pixels(width: number, height: number): ImageData {
    this.#small.width = width;
    this.#small.height = height;
    const context = this.#small.getContext('2d', { willReadFrequently: true })!;
    context.imageSmoothingQuality = 'high';
    drawCovering(context, this.#picture ?? this.canvas, width, height);
    return context.getImageData(0, 0, width, height);
  }

  #paint(): void {
    const [width] = sizeOf(this.#picture!);
    // Few pixels are shown as pixels.
    this.#context.imageSmoothingEnabled = width > 96;
    drawCovering(this.#context, this.#picture!, STAGE_SIZE, STAGE_SIZE);
  }

  #blank(): void {
    this.#picture = undefined;
    this.#context.fillStyle = '#000';
    this.#context.fillRect(0, 0, STAGE_SIZE, STAGE_SIZE);
  }

  /** A line from where the pen is; the first one begins on an empty canvas. */
  #lineTo(x: number, y: number): void {
    if (this.#picture) {
      this.stopCamera();
      this.#blank();
    }
    const context = this.#context;
    context.strokeStyle = '#fff';
    context.lineWidth = PEN_WIDTH;
    context.lineCap = 'round';
    context.beginPath();
    context.moveTo(this.#pen.x, this.#pen.y);
    context.lineTo(x, y);
    context.stroke();
    this.#onChange();
  }

  #moveTo(x: number, y: number): void {
    const inside = (value: number) => Math.min(Math.max(value, 0), STAGE_SIZE);
    const [px, py] = [inside(x), inside(y)];
    if (this.#pen.down) this.#lineTo(px, py);
    this.#pen = { ...this.#pen, x: px, y: py };
  }

  #listen(): void {
    const { canvas } = this;
    const at = (event: PointerEvent): [number, number] => {
      const scale = STAGE_SIZE / canvas.clientWidth;
      return [event.offsetX * scale, event.offsetY * scale];
    };
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      const [x, y] = at(event);
      this.#pen = { x, y, down: true };
      this.#lineTo(x, y);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.#moveTo(...at(event));
    });
    const lift = () => {
      this.#pen.down = false;
    };
    canvas.addEventListener('pointerup', lift);
    canvas.addEventListener('pointercancel', lift);
    canvas.addEventListener('blur', lift);
    canvas.addEventListener('keydown', (event) => {
      const { key } = event;
      if (key === ' ') {
        this.#pen.down = !this.#pen.down;
        if (this.#pen.down) this.#lineTo(this.#pen.x, this.#pen.y);
      } else if (key in MOVES) {
        const [dx, dy] = MOVES[key];
        this.#moveTo(this.#pen.x + dx * KEY_STEP, this.#pen.y + dy * KEY_STEP);
      } else {
        return;
      }
      event.preventDefault();
    });
  }
}
