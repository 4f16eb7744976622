"""The service: models behind HTTP, with a page to try them.

    server process    HTTP and nothing else: limits, queue, answers; never touches a pixel or a weight
    decoders          a few child processes: multipart and pictures, with memory and time limits; replaceable
    engine            one child process: the models, a batch at a time

They speak in frames over pipes (`frames`). So a picture that makes a decoder eat memory or run for ever costs its
sender an answer and the server nothing, and the server answers within milliseconds while a batch is computed.
"""
