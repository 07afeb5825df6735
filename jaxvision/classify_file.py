def classify_file(config, classes, decode, predict, path, output, fitted):
    return {}


def videos(config):
    return ()
